/**
 * A policy as the watch keeps it: whom it isolates as data, its rules as text. Most policies of a cluster select no pod of this node,
 * and rules as objects take ten times their text.
 */
import type { Direction, PolicyMode } from '../core/vocabulary.ts';
import type { Policy, PolicyHead, Problem, Rule, Selector } from '../policy/model.ts';
import { EVERYTHING } from '../policy/model.ts';
import { parsePolicyHead, parseRules, policyProblems } from '../policy/parse.ts';
import { type RawRecord, isRecord } from '../policy/raw-values.ts';
import type { FieldProblem } from '../policy/selector.ts';

import { LongJson } from './long-json.ts';
import { POLICY_LIMITS, bytesText } from './limits.ts';
import { metadataOf, type Project, timestamp, withModeOnly } from './project.ts';
import type { Interner } from './interner.ts';

/** Up to this length the same rules in many namespaces, as one chart brings them, are kept once. */
const MAX_SHARED_BYTES = 1024;
/** What a record takes besides its selector: names, maps, the object itself. */
const RECORD_BYTES = 400;
/** Bytes of memory for one of a parsed selector's JSON. */
const SELECTOR_FACTOR = 4;

/** JSON, a character for each byte of its UTF-8; '' for no rules. */
type RuleText = Readonly<Record<Direction, string>>;

interface Kept extends PolicyHead {
  readonly createdAtMs: number;
  readonly generation: number;
  /** What the record takes without its rules, estimated from above by the object alone. */
  readonly recordBytes: number;
  /** Length of its rules as JSON, kept or not. */
  readonly ruleBytes: number;
  /** Rules that were too long to be looked at when they came. */
  readonly unread: boolean;
  /** Absent: not kept, and the policy allows nothing. */
  readonly text?: RuleText;
}

export class StoredPolicy implements Policy {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly podSelector: Selector;
  readonly isolates: Policy['isolates'];
  readonly mode?: PolicyMode;
  readonly createdAtMs: number;
  readonly generation: number;
  readonly recordBytes: number;
  readonly ruleBytes: number;
  readonly unread: boolean;
  readonly text: RuleText | undefined;

  constructor(kept: Kept) {
    this.namespace = kept.namespace;
    this.name = kept.name;
    this.uid = kept.uid;
    this.podSelector = kept.podSelector;
    this.isolates = kept.isolates;
    if (kept.mode) this.mode = kept.mode;
    this.createdAtMs = kept.createdAtMs;
    this.generation = kept.generation;
    this.recordBytes = kept.recordBytes;
    this.ruleBytes = kept.ruleBytes;
    this.unread = kept.unread;
    this.text = kept.text;
  }

  /** Parsed anew at each access, as nothing of it is kept. */
  get ingress(): readonly Rule[] {
    return this.#read('ingress', []);
  }

  get egress(): readonly Rule[] {
    return this.#read('egress', []);
  }

  /** What is wrong with rules that were not looked at when they came; parses them. */
  ruleProblems(): readonly Problem[] {
    const problems: FieldProblem[] = [];
    if (this.unread) for (const direction of ['ingress', 'egress'] as const) this.#read(direction, problems);
    return policyProblems({ metadata: { namespace: this.namespace, name: this.name } }, problems);
  }

  withoutRules(): StoredPolicy {
    const { text, ...rest }: Kept = this as Kept;
    return text === undefined ? this : new StoredPolicy(rest);
  }

  #read(direction: Direction, problems: FieldProblem[]): readonly Rule[] {
    const text = this.text?.[direction] ?? '';
    if (text === '') return [];
    let raw: unknown;
    try {
      raw = JSON.parse(Buffer.from(text, 'latin1').toString('utf8'));
    } catch {
      problems.push({ field: `spec.${direction}`, message: 'is not valid JSON: it allows nothing' });
      return [];
    }
    return parseRules(raw, direction, problems);
  }
}

/** A policy that isolates every pod of its namespace and allows nothing. Not of the API: the name is none that an object can have. */
export function closeNamespace(namespace: string, name: string): StoredPolicy {
  const isolates = { ingress: true, egress: true };
  // Of its policies some may ask to be enforced.
  const head = { namespace, name, uid: '', podSelector: EVERYTHING, isolates, mode: 'enforce' as const };
  return new StoredPolicy({ ...head, createdAtMs: 0, generation: 0, recordBytes: 0, ruleBytes: 0, unread: false });
}

/** As `projectPolicy`, for keeping. Rules over the limit of one policy are dropped here. */
export const projectStoredPolicy: Project<StoredPolicy> = (object, interner) => {
  const { object: checked, problems: tooLong } = withoutLongSelector(withShortAnnotations(object));
  const { head, sections, problems } = parsePolicyHead(checked);
  problems.push(...tooLong);
  if (!head) return { kind: 'unusable', problems: policyProblems(object, problems) };
  const unusable = tooLong.length > 0;
  const rules = unusable ? NO_RULES : packRules(sections, problems, interner);
  const { namespace, name } = head;
  const { creationTimestamp, generation } = metadataOf(object);
  const record = new StoredPolicy({
    ...head,
    namespace: interner.text(namespace),
    name: interner.text(name),
    podSelector: interner.data(head.podSelector),
    isolates: interner.data(head.isolates),
    createdAtMs: timestamp(creationTimestamp),
    generation: typeof generation === 'number' ? generation : 0,
    recordBytes: RECORD_BYTES + SELECTOR_FACTOR * JSON.stringify(head.podSelector).length,
    ...rules,
  });
  return { kind: 'record', key: `${namespace}/${name}`, record, problems: policyProblems(object, problems) };
};

const NO_TEXT: RuleText = { ingress: '', egress: '' };
const NO_RULES = { text: NO_TEXT, ruleBytes: 0, unread: false } as const;

function packRules(
  sections: Readonly<Record<Direction, unknown>>,
  problems: FieldProblem[],
  interner: Interner,
): Pick<Kept, 'text' | 'ruleBytes' | 'unread'> {
  const ingress = packed(sections.ingress, 'ingress', problems);
  const egress = packed(sections.egress, 'egress', problems);
  const ruleBytes = ingress.length + egress.length;
  const unread = sections.ingress instanceof LongJson || sections.egress instanceof LongJson;
  if (ruleBytes > POLICY_LIMITS.rulesOfPolicy) return { ruleBytes, unread };
  const text = { ingress: textOf(ingress, interner), egress: textOf(egress, interner) };
  return { text: ruleBytes === 0 ? NO_TEXT : text, ruleBytes, unread };
}

/** The bytes of a section; none if they hold no rules. Short ones are looked through for problems. */
function packed(section: unknown, direction: Direction, problems: FieldProblem[]): Buffer {
  if (section instanceof LongJson) return section.bytes;
  const rules = parseRules(section, direction, problems);
  return rules.length === 0 ? NO_BYTES : Buffer.from(JSON.stringify(section));
}

const NO_BYTES = Buffer.alloc(0);

function textOf(bytes: Buffer, interner: Interner): string {
  const text = bytes.toString('latin1');
  return text.length <= MAX_SHARED_BYTES ? interner.text(text) : text;
}

/** Of its annotations one counts. */
function withShortAnnotations(object: unknown): unknown {
  const metadata = metadataOf(object);
  if (!(metadata.annotations instanceof LongJson)) return object;
  return { ...(object as RawRecord), metadata: { ...metadata, annotations: withModeOnly(metadata.annotations) } };
}

/** S-19, for a selector that is too long to be kept: every pod is isolated, and no rule is used. */
function withoutLongSelector(object: unknown): {
  readonly object: unknown;
  readonly problems: readonly FieldProblem[];
} {
  const spec = isRecord(object) && isRecord(object.spec) ? object.spec : {};
  const { podSelector } = spec;
  const bytes = podSelector instanceof LongJson ? podSelector.bytes.length : lengthOf(podSelector);
  const limit = POLICY_LIMITS.selector;
  if (bytes <= limit) return { object, problems: [] };
  const message =
    `is ${bytesText(bytes)} long, and ${bytesText(limit)} is the most an agent keeps: every pod of the namespace is isolated ` +
    'and no rule is used; select by fewer labels and values';
  return {
    object: { ...(object as RawRecord), spec: { ...spec, podSelector: {} } },
    problems: [{ field: 'spec.podSelector', message }],
  };
}

function lengthOf(selector: unknown): number {
  return selector === undefined ? 0 : JSON.stringify(selector).length;
}
