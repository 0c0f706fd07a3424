/** Where the sockets of a user's managers are looked for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { controlDirectories, type Surroundings } from "../src/cli/place.ts";
import { nameAfter } from "../src/cli/presence.ts";

const CASES: readonly [Partial<Surroundings>, readonly string[]][] = [
  [{}, ["/tmp/prefork-1000", "/run/user/1000/prefork"]],
  [{ temporary: "/var/tmp" }, ["/var/tmp/prefork-1000", "/run/user/1000/prefork", "/tmp/prefork-1000"]],
  [{ user: 0 }, ["/run/prefork", "/run/user/0/prefork"]],
  [{ runtimeDir: "/run/user/1000" }, ["/run/user/1000/prefork", "/tmp/prefork-1000"]],
  [{ runtimeDir: "/run/user/1000/" }, ["/run/user/1000/prefork", "/tmp/prefork-1000"]],
  [{ user: 0, runtimeDir: "/run/user/0" }, ["/run/user/0/prefork", "/run/prefork"]],
  [{ runtimeDir: "/srv/mine" }, ["/srv/mine/prefork"]],
  [{ runtimeDir: "not/absolute" }, ["/tmp/prefork-1000", "/run/user/1000/prefork"]],
  [{ runtimeDir: "" }, ["/tmp/prefork-1000", "/run/user/1000/prefork"]],
];

test("a login and a service find each other's managers, and a place of one's own is looked in alone", () => {
  for (const [given, directories] of CASES) {
    const all = { user: 1000, runtimeDir: undefined, temporary: undefined, ...given };
    assert.deepEqual(controlDirectories(all), directories, JSON.stringify(given));
  }
});

test("a manager is called after its worker, by a name that can be typed", () => {
  const names: readonly (readonly [string, string])[] = [
    ["src/app.ts", "app"],
    ["https://example.org/web.server.ts?v=1#x", "web.server"],
    ["äpp lö.ts", "pp-l"],
    ["ä.ts", "prefork"],
    ["-w.ts", "w"],
    [".hidden.ts", "hidden"],
    ["2nd.ts", "_2nd"],
    ["_private.ts", "_private"],
    ["/usr/bin/python3", "python3"],
  ];
  for (const [work, name] of names) assert.equal(nameAfter(work), name, work);
});
