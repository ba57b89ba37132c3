/** What a flag is, and how its text becomes a value: the last one given, else its environment variable, else its default. */
import type { Reader } from './read-value.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Flag<T> {
  /** Without the leading dashes. */
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  /** The environment variable read when the flag is not given; empty counts as absent. */
  readonly env?: string;
  /** Absent: a switch, which takes no value and reads as `true`. */
  readonly placeholder?: string;
  /** As the user would write it; absent: no default. */
  readonly defaultText?: string;
  readonly help: string;
  readonly read: Reader<T>;
}

/** What the command line gave: texts by the flag's name, in their order. */
export type Given = ReadonlyMap<string, readonly string[]>;

/** The command line cannot be used as it is. One line that names the flag or variable, and what is allowed. */
export class UsageProblem extends Error {
  override readonly name = 'UsageProblem';
}

/** Undefined: not given, and there is no default. Throws `UsageProblem`. */
export function optionalValue<T>(flag: Flag<T>, given: Given, env: Environment): T | undefined {
  const found = locate(flag, given, env);
  const text = found?.text ?? flag.defaultText;
  if (text === undefined) return undefined;
  const reading = flag.read(text);
  if ('value' in reading) return reading.value;
  throw new UsageProblem(`${found?.source ?? `--${flag.name}`}: ${reading.problem}`);
}

/** Of a flag that may be repeated, in order. Throws `UsageProblem`. */
export function allValues<T>(flag: Flag<T>, given: Given): readonly T[] {
  return (given.get(flag.name) ?? []).map((text) => requiredValue(flag, new Map([[flag.name, [text]]]), {}));
}

/** Throws `UsageProblem`, also if there is no value. */
export function requiredValue<T>(flag: Flag<T>, given: Given, env: Environment): T {
  const found = optionalValue(flag, given, env);
  if (found !== undefined) return found;
  const or = flag.env === undefined ? '' : ` or set ${flag.env}`;
  throw new UsageProblem(`--${flag.name}: required; give the flag${or}`);
}

interface Located {
  readonly text: string;
  readonly fromFlag: boolean;
  /** As errors name it. */
  readonly source: string;
}

/** The flag's text, or its variable's. */
export function locate({ name, env: variable }: Flag<unknown>, given: Given, env: Environment): Located | undefined {
  const flagText = given.get(name)?.at(-1);
  if (flagText !== undefined) return { text: flagText, fromFlag: true, source: `--${name}` };
  const envText = variable === undefined ? undefined : env[variable];
  return variable !== undefined && envText ? { text: envText, fromFlag: false, source: variable } : undefined;
}
