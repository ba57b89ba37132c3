/** Who must and must not reach whom, as a file says it; and whether that is so by the evaluator. Pure. */
import type { Inventory } from '../../cluster/inventory.ts';
import type { ManifestObject } from '../../cluster/read-manifests.ts';
import type { Answer, AskedPort } from '../explain/questions.ts';

import { resolveEnd } from '../../cluster/flow-ends.ts';
import { isRecord, type RawRecord } from '../../policy/raw-values.ts';
import { letsPass } from '../../policy/evaluate.ts';
import { explainDirection } from '../../policy/explain-verdict.ts';
import { readPort } from '../explain/options.ts';
import { answersFor } from '../explain/questions.ts';

export const EXPECTATIONS_KIND = 'ReachExpectations';

export interface Expectation {
  /** `expectations.yaml: expect[2]`. */
  readonly at: string;
  readonly name: string | undefined;
  readonly from: string;
  readonly to: string;
  /** Empty: all of a Service. */
  readonly ports: readonly AskedPort[];
  readonly reach: boolean;
  /** Of ends that name none. */
  readonly namespace: string;
}

/** A file that cannot be understood: which field, and what it is to be. */
export class BadExpectations extends Error {
  override readonly name = 'BadExpectations';
}

export function isExpectations({ object }: ManifestObject): boolean {
  return isRecord(object) && object.kind === EXPECTATIONS_KIND;
}

/** Throws `BadExpectations`. */
export function readExpectations(from: ManifestObject, defaultNamespace: string): readonly Expectation[] {
  const object = from.object as RawRecord;
  const list = object.expect;
  if (!Array.isArray(list) || list.length === 0)
    throw new BadExpectations(`${from.file}: expect: a list of at least one`);
  const namespace = optionalText(object, 'namespace', from.file) ?? defaultNamespace;
  return list.map((entry, index) => readOne(entry, `${from.file}: expect[${index}]`, namespace));
}

const FIELDS = ['name', 'from', 'to', 'port', 'ports', 'reach'];

function readOne(entry: unknown, at: string, namespace: string): Expectation {
  if (!isRecord(entry)) throw new BadExpectations(`${at}: a map with from, to, port and reach`);
  const unknown = Object.keys(entry).find((key) => !FIELDS.includes(key));
  if (unknown !== undefined)
    throw new BadExpectations(`${at}.${unknown}: no such field; there are ${FIELDS.join(', ')}`);
  const { reach, port, ports = port === undefined ? [] : [port] } = entry;
  if (typeof reach !== 'boolean') throw new BadExpectations(`${at}.reach: true or false`);
  if (!Array.isArray(ports)) throw new BadExpectations(`${at}.ports: a list of ports`);
  return {
    at,
    name: optionalText(entry, 'name', at),
    from: requiredText(entry, 'from', at),
    to: requiredText(entry, 'to', at),
    ports: ports.map((each) => portIn(each, at)),
    reach,
    namespace,
  };
}

function portIn(value: unknown, at: string): AskedPort {
  const read = readPort(String(value));
  if ('value' in read) return read.value;
  throw new BadExpectations(`${at}.port: ${JSON.stringify(value)} is no port: 80, 53/UDP or a name`);
}

function optionalText(object: RawRecord, field: string, at: string): string | undefined {
  const value = object[field];
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new BadExpectations(`${at}.${field}: a text that is not empty`);
}

function requiredText(object: RawRecord, field: string, at: string): string {
  const value = optionalText(object, field, at);
  if (value !== undefined) return value;
  throw new BadExpectations(`${at}.${field}: required`);
}

/** What there is to say of one expectation. */
export interface Judged {
  readonly expectation: Expectation;
  readonly title: string;
  /** It cannot be asked: no such end, no such port. */
  readonly problem?: string;
  readonly answers: readonly Answer[];
}

export function asked(expectation: Expectation, inventory: Inventory): Judged {
  const { from, to, ports, reach, name, namespace } = expectation;
  const portText = ports.map(({ port, protocol }) => (protocol ? `${port}/${protocol}` : String(port))).join(', ');
  const title =
    name ?? `${from} ${reach ? 'reaches' : 'does not reach'} ${to}${portText === '' ? '' : ` at ${portText}`}`;
  const told = { expectation, title };
  const source = resolveEnd(from, 'source', inventory, namespace);
  if ('problem' in source) return { ...told, problem: `from ${JSON.stringify(from)}: ${source.problem}`, answers: [] };
  const destination = resolveEnd(to, 'destination', inventory, namespace);
  if ('problem' in destination)
    return { ...told, problem: `to ${JSON.stringify(to)}: ${destination.problem}`, answers: [] };
  if (ports.length === 0 && !destination.service)
    return { ...told, problem: 'port: required, unless to is a Service', answers: [] };
  const { answers, notes } = answersFor(inventory, source, destination, ports);
  if (answers.length === 0) return { ...told, problem: `there is nothing to ask about: ${notes.join('; ')}`, answers };
  return { ...told, answers };
}

/** By the policies, in words; empty: as it is expected to be. */
export function wrongByPolicies({ expectation: { reach }, answers }: Judged): readonly string[] {
  return answers
    .filter(({ explanation }) => explanation.allowed !== reach)
    .map((answer) => `${flowText(answer)} ${reach ? 'is denied' : 'is allowed'}: ${reasonText(answer)}`);
}

export function flowText({ source, destination, protocol, port, families }: Answer): string {
  const family = families.length > 1 ? '' : ` over IPv${families[0]}`;
  return `${source.name} -> ${destination.name} ${protocol} ${port}${family}`;
}

/** Of what is denied the sides that deny it, of what is allowed all that let it pass. */
function reasonText({ explanation: { allowed, directions } }: Answer): string {
  return directions
    .filter(({ verdict }) => allowed || !letsPass(verdict))
    .map(({ direction, verdict }) => `${direction} ${explainDirection(direction, verdict)}`)
    .join('; ');
}
