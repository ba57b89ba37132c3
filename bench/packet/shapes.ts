/** Which clusters are measured. */

/**
 * How the policies of a class differ, besides in their peers. Own words: they select the same pods, each in words of its own. Own ports:
 * each has a port of its own, and only the last one of the last class the measured one.
 */
export type Kind = 'same words' | 'own words' | 'own ports';

export const KINDS: readonly Kind[] = ['same words', 'own words', 'own ports'];

export interface Shape {
  /** On the measured node. */
  readonly pods: number;
  /** The pods are spread evenly over this many classes. */
  readonly classes: number;
  /** Per pod, each with an ingress and an egress rule for one TCP and the same UDP port. */
  readonly policies: number;
  /** Remote pods that each policy's rules name. */
  readonly peers: number;
  /** Same words unless said. */
  readonly kind?: Kind;
  /** One of a series of more and more policies: only what begins is measured, new connections and first packets. */
  readonly onlyNew?: true;
}

/** The target for established flows is set for this one. */
export const MANY_POLICIES: Shape = { pods: 250, classes: 40, policies: 20, peers: 200 };
/** The target for new connections is set for this one. */
export const MANY_PODS: Shape = { pods: 1_000, classes: 50, policies: 20, peers: 200 };

/** What is denied meets every rule of its pod, so there are few. */
export const DENIED: Shape = { pods: 110, classes: 20, policies: 1, peers: 200 };

const CURVE = { pods: 110, classes: 20, peers: 200 } as const;

const QUICK: readonly Shape[] = [
  { pods: 40, classes: 4, policies: 3, peers: 20 },
  { pods: 40, classes: 4, policies: 12, peers: 20, kind: 'own ports' },
];

const USUAL: readonly Shape[] = [
  { pods: 10, classes: 4, policies: 1, peers: 200 },
  { pods: 110, classes: 20, policies: 5, peers: 200 },
  { pods: 250, classes: 4, policies: 5, peers: 10_000 },
  MANY_POLICIES,
  MANY_PODS,
  ...curve([1, 100], 'same words'),
  ...curve([20, 100], 'own words'),
  ...curve([20, 100], 'own ports'),
];

/** More and more policies per pod, all else the same. With one policy there is one kind. */
function curve(counts: readonly number[], kind: Kind): readonly Shape[] {
  return counts.map((policies) => ({ ...CURVE, policies, ...kindOf(kind), onlyNew: true }));
}

function kindOf(kind: Kind): Pick<Shape, 'kind'> {
  return kind === 'same words' ? {} : { kind };
}

/** Whether the shape is like those of the curve but for its policies. */
export function isOnCurve({ pods, classes, peers }: Shape): boolean {
  return pods === CURVE.pods && classes === CURVE.classes && peers === CURVE.peers;
}

export function shapes({
  quick,
  full = false,
}: {
  readonly quick: boolean;
  readonly full?: boolean;
}): readonly Shape[] {
  if (quick) return QUICK;
  return full ? everyShape() : USUAL;
}

function everyShape(): readonly Shape[] {
  const classes = new Map([
    [10, 4],
    [110, 20],
    [250, 40],
    [1_000, 50],
  ]);
  const grid = [...classes].flatMap(([pods, count]) =>
    [1, 5, 20].map((policies): Shape => ({ pods, classes: count, policies, peers: 200 })),
  );
  // Few classes, because every policy has a set of its own.
  const large = [110, 1_000].map((pods): Shape => ({ pods, classes: 4, policies: 5, peers: 10_000 }));
  const apart = grid.filter(({ policies }) => policies > 1).map((shape): Shape => ({ ...shape, kind: 'own words' }));
  const all = [...grid, ...apart, ...large];
  const known = new Set(all.map(shapeText));
  const more = KINDS.flatMap((kind) => curve([5, 20, 50, 100], kind)).filter((shape) => !known.has(shapeText(shape)));
  return [...all, ...more];
}

export function shapeText({ pods, classes, policies, peers, kind }: Shape): string {
  return `${pods} pods, ${classes} classes x ${policies}, ${peers} peers${kind === undefined ? '' : `, ${kind}`}`;
}
