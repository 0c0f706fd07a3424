/** The files of examples/container: right by the schemas of Kubernetes and the rules of Docker, and of one mind. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { type Cmd, DockerfileParser, type Entrypoint, Healthcheck } from "dockerfile-ast";
import { validate as lint } from "dockerfile-utils";
import { validate as isDeployment } from "kubernetes-models/_schemas/IoK8sApiAppsV1Deployment";
import { validate as isService } from "kubernetes-models/_schemas/IoK8sApiCoreV1Service";
import { validate as isBudget } from "kubernetes-models/_schemas/IoK8sApiPolicyV1PodDisruptionBudget";
import type { IDeployment } from "kubernetes-models/apps/v1";
import type { IPodDisruptionBudget } from "kubernetes-models/policy/v1";
import type { IService } from "kubernetes-models/v1";
import { parseAllDocuments } from "yaml";
import { parse } from "../src/cli/parse.ts";
import type { RunOptions } from "../src/cli/request.ts";

const read = (file: string): string => readFileSync(new URL(`../${file}`, import.meta.url), "utf8");
const dockerfile = read("examples/container/Dockerfile");
const manifest = read("examples/container/kubernetes.yaml");

interface Validate {
  (document: unknown): boolean;
  readonly errors?: readonly unknown[] | null;
}

const SCHEMAS: Readonly<Record<string, Validate>> = {
  Deployment: isDeployment,
  Service: isService,
  PodDisruptionBudget: isBudget,
};

/** The value, so that each field which is looked at is deleted from `unseen`. */
function watched(value: unknown, path: string, unseen: Set<string>): unknown {
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, field]) => [key, watched(field, `${path}/${key}`, unseen)] as const);
  for (const [key] of entries) unseen.add(`${path}/${key}`);
  const copy = Array.isArray(value) ? entries.map(([, field]) => field) : Object.fromEntries(entries);
  return new Proxy(copy, {
    get(target, key, receiver) {
      unseen.delete(`${path}/${String(key)}`);
      return Reflect.get(target, key, receiver);
    },
  });
}

/** What is wrong with a manifest. The schemas allow for fields that they do not know: these are never looked at. */
function wrong(text: string): readonly unknown[] {
  return parseAllDocuments(text, { uniqueKeys: true }).flatMap((document) => {
    const { kind, ...rest } = document.toJS();
    const isValid = SCHEMAS[kind] ?? assert.fail(`no schema for ${kind}`);
    const unseen = new Set<string>();
    return [
      ...document.errors,
      ...isValid(watched({ kind, ...rest }, "", unseen)) ? [] : isValid.errors ?? [],
      ...unseen,
    ];
  });
}

const [deployment, service, budget]: readonly [IDeployment, IService, IPodDisruptionBudget] = (() => {
  const [first, second, third] = parseAllDocuments(manifest).map((document) => document.toJS());
  return [first, second, third];
})();
const pod = deployment.spec?.template.spec ?? assert.fail("no pod");
const container = pod.containers[0] ?? assert.fail("no container");

/** The stages of the Dockerfile that become an image, by name. */
const images = DockerfileParser.parse(dockerfile).getFROMs().flatMap((from, index, all) => {
  const [start, end] = [from, all[index + 1]].map((stage) => stage?.getRange().start.line ?? Infinity);
  const stage = DockerfileParser.parse(dockerfile.split("\n").slice(start, end).join("\n"));
  const [entry] = stage.getENTRYPOINTs();
  return entry === undefined ? [] : [{ name: from.getBuildStage() ?? "", from: from.getImage() ?? "", entry, stage }];
});

function words(instruction: Entrypoint | Cmd): readonly string[] {
  assert.ok(instruction.getOpeningBracket(), `not in exec form, so that a shell is process 1: ${instruction}`);
  return instruction.getJSONStrings().map((text) => JSON.parse(text.getValue()));
}

function optionsOf(args: readonly string[]): RunOptions {
  const request = parse(args.slice(args.findIndex((word) => word.endsWith("/mod.ts")) + 1));
  return request.kind === "run" ? request.options : assert.fail(JSON.stringify(request));
}

function seconds(ms: number | undefined): number {
  return (ms ?? assert.fail("not given")) / 1000;
}

describe("the manifest for Kubernetes", () => {
  it("is right", () => {
    assert.deepEqual(wrong(manifest), []);
  });

  it("would not be if a field or a value were not", () => {
    const mistakes = [
      ["readOnlyRootFilesystem", "readonlyRootFilesystem"],
      ["replicas: 2", "replicas: two"],
      ["unhealthyPodEvictionPolicy", "unhealthyPodPolicy"],
      ["sizeLimit: 16Mi", "sizeLimit: much"],
    ] as const;
    for (const [from, to] of mistakes) assert.notDeepEqual(wrong(manifest.replace(from, to)), [], to);
  });

  for (const { name, entry } of images) {
    const all = () => optionsOf([...words(entry), ...container.args ?? []]);

    it(`gives options that prefork takes, and ports that it listens on, to the image '${name}'`, () => {
      const { listen, statusListen, statusTokenFile = "" } = all();
      const ports = new Map(container.ports?.map(({ name, containerPort }) => [name, containerPort]));
      assert.deepEqual([...ports], [["http", Number(listen?.[0])], ["status", statusListen?.port]]);
      assert.equal(statusListen?.host, "0.0.0.0");
      assert.ok(container.volumeMounts?.some(({ mountPath }) => statusTokenFile.startsWith(`${mountPath}/`)));
      assert.equal(service.spec?.ports?.[0]?.targetPort, "http");
    });

    it(`gives the image '${name}' the time that it takes`, () => {
      const { drainDelayMs, stopTimeoutMs, drainTimeoutMs, bootTimeoutMs } = all();
      const { startupProbe, readinessProbe, livenessProbe } = container;
      assert.ok(seconds(stopTimeoutMs) > seconds(drainTimeoutMs), "or who answers what is open is killed");
      assert.ok((pod.terminationGracePeriodSeconds ?? 30) >= seconds(drainDelayMs) + seconds(stopTimeoutMs) + 5);
      const unheard = (readinessProbe?.periodSeconds ?? 10) * (readinessProbe?.failureThreshold ?? 3);
      assert.ok(seconds(drainDelayMs) > unheard, "or requests come that nobody takes");
      const patience = (startupProbe?.periodSeconds ?? 10) * (startupProbe?.failureThreshold ?? 3);
      assert.ok(patience > seconds(bootTimeoutMs), "or a pod is killed that is about to be ready");
      const paths = [startupProbe, readinessProbe, livenessProbe].map((probe) => probe?.httpGet);
      assert.deepEqual(paths.map((get) => [get?.path, get?.port]), [
        ["/readyz", "status"],
        ["/readyz", "status"],
        ["/healthz", "status"],
      ]);
    });
  }

  it("has all its parts speak of the same pods", () => {
    const labels = deployment.spec?.template.metadata?.labels;
    assert.deepEqual(deployment.spec?.selector.matchLabels, labels);
    assert.deepEqual(service.spec?.selector, labels);
    assert.deepEqual(budget.spec?.selector?.matchLabels, labels);
    assert.equal(pod.volumes?.find(({ secret }) => secret)?.secret?.defaultMode, 0o440);
    assert.deepEqual(
      container.volumeMounts?.map(({ name }) => name).sort(),
      pod.volumes?.map(({ name }) => name).sort(),
    );
  });
});

describe("the Dockerfile", () => {
  it("is right, and would not be if it were not", () => {
    assert.deepEqual(lint(dockerfile), []);
    assert.equal(lint(dockerfile.replace("EXPOSE 8080", "EXPOSE http")).length, 1);
  });

  it("copies what there is", () => {
    const copies = DockerfileParser.parse(dockerfile).getCOPYs().filter((copy) => copy.getFlags().length === 0);
    const sources = copies.flatMap((copy) => copy.getArguments().slice(0, -1).map((source) => source.getValue()));
    assert.ok(sources.length > 4);
    for (const source of sources) assert.ok(existsSync(new URL(`../${source}`, import.meta.url)), source);
  });

  it("makes an image for each runtime, of the versions that are tested", () => {
    const { devDependencies } = JSON.parse(read("package.json"));
    assert.deepEqual(images.map(({ name }) => name), ["deno", "bun"]);
    for (const { name, from } of images) assert.match(from, new RegExp(`[:-]${devDependencies[name]}(-|$)`), name);
    assert.ok(dockerfile.includes(`FROM oven/bun:${devDependencies.bun}-slim AS files`));
  });

  for (const { name, entry, stage } of images) {
    it(`has the image '${name}' start without a shell, and as nobody in particular`, () => {
      const [cmd] = stage.getCMDs();
      const [health] = stage.getHEALTHCHECKs();
      const { listen, statusListen } = optionsOf([...words(entry), ...words(cmd ?? assert.fail("no CMD"))]);
      const argumentsOf = (keyword: string) =>
        stage.getInstructions().find((one) => one.getKeyword() === keyword)?.getArguments().map((one) =>
          one.getValue()
        );
      assert.deepEqual(argumentsOf("EXPOSE"), [listen?.[0], String(statusListen?.port)]);
      assert.deepEqual(argumentsOf("STOPSIGNAL"), ["SIGTERM"]);
      const { runAsUser, runAsGroup } = pod.securityContext ?? {};
      assert.deepEqual(argumentsOf("USER"), [`${runAsUser}:${runAsGroup}`]);
      assert.ok(health instanceof Healthcheck);
      assert.match(health.getTextContent(), new RegExp(`http://127\\.0\\.0\\.1:${statusListen?.port}/readyz`));
    });
  }
});
