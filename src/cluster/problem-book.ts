/** What is wrong with the objects of one kind, object by object, as much of it as people can read and memory should hold. */
import type { Problem } from '../policy/model.ts';

/** Of one namespace; others of it are only said to be there. */
export const MAX_OF_NAMESPACE = 100;
export const MAX_IN_ALL = 1_000;
/** Objects without a usable name cannot be told apart. */
const MAX_UNUSABLE = 20;

const NONE: readonly Problem[] = [];

/** Lists joined into one: the same array as long as all parts are the same arrays. */
export class JoinedProblems {
  #parts: readonly (readonly Problem[])[] = [];
  #all = NONE;

  of(parts: readonly (readonly Problem[])[]): readonly Problem[] {
    if (parts.some((part, index) => part !== this.#parts[index])) {
      this.#parts = parts;
      this.#all = parts.flat();
    }
    return this.#all;
  }
}

export class ProblemBook {
  /** An empty list: the object has problems, but there was no room for them. */
  readonly #byKey = new Map<string, readonly Problem[]>();
  /** How many are kept, and of how many objects none is. */
  readonly #namespaces = new Map<string, { kept: number; leftOut: number }>();
  #kept = 0;
  #unusable: readonly Problem[] = NONE;
  #list: readonly Problem[] | undefined;

  /** The same array until a problem comes or goes. */
  get list(): readonly Problem[] {
    this.#list ??= [...this.#byKey.values()].flat().concat(this.#leftOut(), this.#unusable);
    return this.#list;
  }

  /** Replaces what is known of one object. */
  note(key: string, problems: readonly Problem[]): void {
    const before = this.#byKey.get(key);
    if (before === undefined && problems.length === 0) return;
    this.#list = undefined;
    const namespace = namespaceOf(key);
    const count = this.#namespaces.get(namespace) ?? { kept: 0, leftOut: 0 };
    this.#namespaces.set(namespace, count);
    if (before) this.#count(count, before, -1);
    const hasRoom = count.kept + problems.length <= MAX_OF_NAMESPACE && this.#kept + problems.length <= MAX_IN_ALL;
    const kept = hasRoom ? problems : NONE;
    if (problems.length === 0) this.#byKey.delete(key);
    else {
      this.#byKey.set(key, kept);
      this.#count(count, kept, 1);
    }
    if (count.kept === 0 && count.leftOut === 0) this.#namespaces.delete(namespace);
  }

  noteUnusable(problems: readonly Problem[]): void {
    this.#unusable = [...problems, ...this.#unusable].slice(0, MAX_UNUSABLE);
    this.#list = undefined;
  }

  forgetUnusable(): void {
    if (this.#unusable.length > 0) this.#list = undefined;
    this.#unusable = NONE;
  }

  #count(count: { kept: number; leftOut: number }, problems: readonly Problem[], sign: 1 | -1): void {
    count.kept += sign * problems.length;
    this.#kept += sign * problems.length;
    if (problems.length === 0) count.leftOut += sign;
  }

  /** Without numbers: these lines shall not change with each object. */
  #leftOut(): readonly Problem[] {
    const namespaces = [...this.#namespaces].filter(([, { leftOut }]) => leftOut > 0).slice(0, MAX_OF_NAMESPACE);
    return namespaces.map(([name]) => ({
      object: { kind: 'Namespace', name },
      field: '',
      message: 'has objects with more problems than are shown',
    }));
  }
}

function namespaceOf(key: string): string {
  const at = key.indexOf('/');
  return at < 0 ? '' : key.slice(0, at);
}
