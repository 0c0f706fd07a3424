import assert from "node:assert/strict";
import { isIP } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { type Address, formatAddress, formatIpv6, parseAddress, parseIpv6 } from "../src/address.ts";
import { MAPPED, PLAIN, socketAddress } from "./support/addresses.ts";

const v4 = (host: string, port: number): Address => ({ type: "tcp", host, family: 4, port });
const v6 = (host: string, port: number): Address => ({ type: "tcp", host, family: 6, port });
const unix = (path: string): Address => ({ type: "unix", path });

const UNDERSTOOD: readonly (readonly [string, Address, string?])[] = [
  ["8080", v4("0.0.0.0", 8080)],
  ["0", v4("0.0.0.0", 0)],
  ["65535", v4("0.0.0.0", 65_535)],
  [":8080", v4("0.0.0.0", 8080)],
  ["*:8080", v4("0.0.0.0", 8080)],
  ["0.0.0.0:8080", v4("0.0.0.0", 8080)],
  ["127.0.0.1:0", v4("127.0.0.1", 0)],
  ["localhost:80", v4("127.0.0.1", 80)],
  ["LocalHost:80", v4("127.0.0.1", 80)],
  ["[::1]:80", v6("::1", 80)],
  ["[::]:0", v6("::", 0)],
  ["[2001:DB8:0:0:0:0:0:01]:443", v6("2001:db8::1", 443)],
  ["[::ffff:7f00:1]:443", v6("::ffff:127.0.0.1", 443)],
  ["unix:/run/app.sock", unix("/run/app.sock")],
  ["unix:app.sock", unix("app.sock")],
  ["unix:/a=b:c;d e", unix("/a=b:c;d e")],
  ["unix:a=unix:b", unix("a=unix:b")],
  ["unix:unix:", unix("unix:")],
  [`unix:${"x".repeat(107)}`, unix("x".repeat(107))],
  ["fd:3", { type: "fd", fd: 3 }],
  ["fd:2147483647", { type: "fd", fd: 2 ** 31 - 1 }],
  ["web=8080", v4("0.0.0.0", 8080), "web"],
  ["web.v1_x-2=[::1]:80", v6("::1", 80), "web.v1_x-2"],
  ["admin=unix:/a=b", unix("/a=b"), "admin"],
  ["3=fd:3", { type: "fd", fd: 3 }, "3"],
  [`${"n".repeat(255)}=1`, v4("0.0.0.0", 1), "n".repeat(255)],
];

test("parseAddress() understands", () => {
  for (const [text, address, name] of UNDERSTOOD) assert.deepEqual(parseAddress(text), { name, address }, text);
});

const SHAPES: readonly (readonly [string, RegExp])[] = [
  ["", /it is empty; give a port, such as 8080/],
  ["web=", /Cannot listen on 'web=': it is empty/],
  ["=8080", /'' is no name for a socket: it must be of letters/],
  ["a:b=80", /'a:b' is no name for a socket/],
  ["wéb=80", /'wéb' is no name/],
  ["a b=80", /'a b' is no name/],
  ["example.org:80", /'example.org' is no IP address; give an IP address, since a name may stand for several/],
  ["tcp:80", /'tcp' is no IP address; give an IP address/],
  ["localhost", /the port is missing; write it as in 127.0.0.1:8080/],
  ["127.0.0.1", /the port is missing; write it as in 127.0.0.1:8080/],
  ["127.0.0.1:", /the port is missing; write it as in 127.0.0.1:8080/],
  ["127.0.0.1:http", /'http' is no port; write one as in 127.0.0.1:8080/],
  ["127.0.0.1: 80", /' 80' is no port/],
  ["127.1:80", /'127.1' is no IPv4 address: it must be of four numbers/],
  ["127.0.0.010:80", /'127.0.0.010' is no IPv4 address: it must be of four numbers without leading zeros/],
  ["1.2.3.4.5:80", /'1.2.3.4.5' is no IPv4 address/],
  ["http://localhost:8080/x", /it is a URL; give its address only, such as localhost:8080$/],
  ["/run/app.sock", /it looks like a path; write unix:\/run\/app.sock for a Unix socket/],
  ["./app.sock", /write unix:.\/app.sock/],
  ["::1", /an IPv6 address stands in brackets; write \[::1\]:8080/],
  ["::1:80", /write \[::1\]:80$/],
  ["::8080", /write \[::\]:8080$/],
  [":::8080", /write \[::\]:8080$/],
  ["fe80::1", /write \[fe80::1\]:8080$/],
  ["2001:db8::1:443", /write \[2001:db8::1\]:443$/],
  ["[::1", /the bracket is not closed/],
  ["[::1]", /the port is missing; write it as in \[::1\]:8080/],
  ["[::1]:", /the port is missing; write it as in \[::1\]:8080/],
  ["[::1]80", /'80' is no port; write one as in \[::1\]:8080/],
  ["[::1]:x", /':x' is no port/],
  ["[::g]:80", /'::g' is no IPv6 address; write one as in \[::1\]:8080/],
  ["[]:80", /'' is no IPv6 address/],
  ["[127.0.0.1]:80", /brackets are for IPv6; write 127.0.0.1:80$/],
  ["[fe80::1%eth0]:80", /a zone is not supported; give one without it, or \[::\]/],
  ["unix:", /the path is missing; write it as in unix:\/run\/app.sock/],
  ["unix:a\0b", /'unix:a\\0b': a path cannot hold a NUL/],
  ["unix:@app", /abstract sockets are not supported; write unix:.\/@app/],
  ["unx:/run/app.sock", /no addresses of the kind 'unx'; did you mean unix:\/run\/app.sock\?/],
  ["Unix:app.sock", /did you mean unix:app.sock\?/],
  ["fd:", /a file descriptor is a whole number, as in fd:3/],
  ["fd:x", /a file descriptor is a whole number/],
];

const RANGES: readonly (readonly [string, RegExp])[] = [
  ["70000", /Cannot listen on '70000': there is no port 70000; give one from 1 to 65535, or 0 for a free one/],
  ["-1", /there is no port -1/],
  ["127.0.0.1:65536", /there is no port 65536/],
  ["localhost:-1", /there is no port -1/],
  ["[::1]:99999", /there is no port 99999/],
  ["256.0.0.1:80", /256 in '256.0.0.1' is too large; each part goes up to 255/],
  ["fd:2", /0, 1 and 2 are standard input, output and error; give the number of a socket, 3 or more/],
  ["fd:2147483648", /no file descriptor has a number above 2147483647/],
  [`unix:${"é".repeat(54)}`, /its path has 108 bytes and a socket's may have 107; give a shorter one/],
  [`${"n".repeat(256)}=1`, /its name has 256 characters, and systemd allows 255 at most/],
];

test("parseAddress() refuses what it cannot mean, and says what to write", () => {
  for (const [text, message] of SHAPES) assert.throws(() => parseAddress(text), { name: "TypeError", message }, text);
  for (const [text, message] of RANGES) assert.throws(() => parseAddress(text), { name: "RangeError", message }, text);
});

test("parseAddress() refuses what is no string", () => {
  const number: string = JSON.parse("8080");
  assert.throws(() => parseAddress(number), { name: "TypeError", message: /an address is a string/ });
});

test("formatAddress() writes what parseAddress() reads", () => {
  for (const [text, address] of UNDERSTOOD) {
    assert.deepEqual(parseAddress(formatAddress(address)), { name: undefined, address }, text);
  }
  const address = fc.oneof(
    socketAddress,
    fc.record({ type: fc.constant("fd" as const), fd: fc.integer({ min: 3, max: 2 ** 31 - 1 }) }, PLAIN),
  );
  const name = fc.option(fc.stringMatching(/^[A-Za-z0-9_.-]{1,255}$/), { nil: undefined });
  fc.assert(fc.property(name, address, (name, address) => {
    const text = formatAddress(address);
    assert.deepEqual(parseAddress(name === undefined ? text : `${name}=${text}`), { name, address });
  }));
});

test("parseAddress() either understands or throws a sentence that shows the input", () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9:=.\[\]/@%*-]{0,30}$/));
  fc.assert(
    fc.property(text, (text) => {
      try {
        parseAddress(text);
      } catch (error) {
        assert(error instanceof TypeError || error instanceof RangeError);
        assert(error.message.startsWith(`Cannot listen on '${text}': `), error.message);
      }
    }),
    { numRuns: 1000 },
  );
});

const IPV6: readonly (readonly [string, string])[] = [
  ["::", "::"],
  ["::1", "::1"],
  ["1::", "1::"],
  ["0:0:0:0:0:0:0:0", "::"],
  ["2001:0DB8::0001", "2001:db8::1"],
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
  ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
  ["::FFFF:c0a8:1", "::ffff:192.168.0.1"],
  ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
  ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
];

test("IPv6 addresses are written as RFC 5952 wants", () => {
  for (const [text, canonical] of IPV6) assert.equal(formatIpv6(parseIpv6(text)), canonical, text);
  assert.throws(() => formatIpv6(new Uint8Array(4)), { name: "RangeError", message: /of 4 bytes: it must have 16/ });
  const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const sparse = fc.array(fc.constantFrom(0, 0, 0, 1, 16, 255), { minLength: 16, maxLength: 16 });
  fc.assert(fc.property(fc.oneof(bytes, sparse.map((array) => Uint8Array.from(array))), (bytes) => {
    const text = formatIpv6(bytes);
    assert.deepEqual(parseIpv6(text), bytes);
    // URLs write these addresses as the RFC does, but for those that hold an IPv4 address.
    if (!MAPPED.test(text)) assert.equal(new URL(`http://[${text}]/`).hostname, `[${text}]`);
  }));
});

test("parseIpv6() takes what the system takes", () => {
  const group = fc.constantFrom("0", "1", "ab", "FFFF", "01234", "g", "", "1.2.3.4", "256.1.1.1", "01.2.3.4");
  const joined = fc.array(fc.tuple(group, fc.constantFrom(":", ":", ":", "::")), { maxLength: 9 }).map((parts) =>
    parts.flat().slice(0, -1).join("")
  );
  fc.assert(
    fc.property(fc.oneof(joined, fc.stringMatching(/^[0-9a-f:.]{0,20}$/)), (text) => {
      if (isIP(text) === 6) assert.equal(parseIpv6(text).length, 16);
      else assert.throws(() => parseIpv6(text), { name: "TypeError", message: /it must look like ::1/ }, text);
    }),
    { numRuns: 2000 },
  );
});
