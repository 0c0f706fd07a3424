/** Where the sockets of a user's managers are looked for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { controlDirectories, type Surroundings } from "../src/cli/place.ts";

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
