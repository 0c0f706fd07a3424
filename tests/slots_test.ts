import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { emptySlots, type SlotMap } from "../src/slots.ts";

const change = fc.tuple(fc.constantFrom("set", "delete"), fc.oneof(fc.nat(40), fc.nat(1100), fc.nat(40_000)));

it("is a map from small numbers, whatever is set and deleted", () => {
  fc.assert(fc.property(fc.array(change, { maxLength: 200 }), (changes) => {
    const model = new Map<number, string>();
    let slots: SlotMap<string> = emptySlots();
    for (const [what, slot] of changes) {
      const before = [...slots.entries()];
      const next = what === "set" ? slots.set(slot, `v${slot}`) : slots.delete(slot);
      assert.deepEqual([...slots.entries()], before, "the old map is as it was");
      slots = next;
      if (what === "set") model.set(slot, `v${slot}`);
      else model.delete(slot);
    }
    const sorted = [...model].sort(([a], [b]) => a - b);
    assert.deepEqual([...slots.entries()], sorted);
    assert.equal(slots.size, model.size);
    assert.equal(slots.last(), sorted.at(-1)?.[0] ?? -1);
    let free = 0;
    while (model.has(free)) free++;
    assert.equal(slots.firstFree(), free);
    for (const [slot, value] of model) assert.equal(slots.get(slot), value);
    assert.equal(slots.get(50_000), undefined);
  }));
});

it("finds the first free slot behind full nodes", () => {
  let slots: SlotMap<true> = emptySlots();
  for (let slot = 0; slot < 1100; slot++) {
    assert.equal(slots.firstFree(), slot);
    slots = slots.set(slot, true);
  }
  assert.equal(slots.delete(1023).firstFree(), 1023);
});
