import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { SlotSet, TakenSlots } from "../src/slot_set.ts";
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
    assert.equal(slots.first(), sorted[0]?.[0] ?? -1);
    for (const [slot, value] of model) assert.equal(slots.get(slot), value);
    assert.equal(slots.get(50_000), undefined);
  }));
});

const some = fc.tuple(fc.constantFrom("add", "delete"), fc.oneof(fc.nat(70), fc.nat(2000)));

it("is a set of small numbers, whatever is added and deleted", () => {
  fc.assert(fc.property(fc.array(some, { maxLength: 300 }), (changes) => {
    const model = new Set<number>();
    let slots = SlotSet.empty;
    for (const [what, slot] of changes) {
      const before = slots;
      const had = model.has(slot);
      slots = what === "add" ? slots.add(slot) : slots.delete(slot);
      assert.equal(before.has(slot), had, "the old set is as it was");
      if (what === "add") model.add(slot);
      else model.delete(slot);
      assert.equal(slots.size, model.size);
      assert.equal(slots.first(), model.size === 0 ? -1 : Math.min(...model));
      assert.equal(slots.last(), Math.max(-1, ...model));
    }
    for (const [, slot] of changes) assert.equal(slots.has(slot), model.has(slot));
  }));
});

it("knows the first free slot, whatever is taken and freed", () => {
  fc.assert(fc.property(fc.array(some, { maxLength: 300 }), (changes) => {
    const model = new Set<number>();
    let taken = TakenSlots.none;
    for (const [what, slot] of changes) {
      taken = what === "add" ? taken.add(slot) : taken.delete(slot);
      if (what === "add") model.add(slot);
      else model.delete(slot);
      let free = 0;
      while (model.has(free)) free++;
      assert.equal(taken.firstFree(), free);
      assert.equal(taken.size, model.size);
    }
    for (const [, slot] of changes) assert.equal(taken.has(slot), model.has(slot));
  }));
});
