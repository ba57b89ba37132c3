/** Which clusters are measured. */

export interface Shape {
  /** On the measured node. */
  readonly pods: number;
  /** The pods are spread evenly over this many classes. */
  readonly classes: number;
  /** Per pod, each with an ingress and an egress rule for one TCP and the same UDP port. */
  readonly policies: number;
  /** Remote pods that each policy's rules name. */
  readonly peers: number;
  /** The policies of a class select the same pods in different words, so none of them may share a set. */
  readonly ownWords?: true;
}

/** The target for established flows is set for this one. */
export const MANY_POLICIES: Shape = { pods: 250, classes: 40, policies: 20, peers: 200 };
/** The target for new connections is set for this one. */
export const MANY_PODS: Shape = { pods: 1_000, classes: 50, policies: 20, peers: 200 };

const QUICK: readonly Shape[] = [{ pods: 40, classes: 4, policies: 3, peers: 20 }];

const USUAL: readonly Shape[] = [
  { pods: 10, classes: 4, policies: 1, peers: 200 },
  { pods: 110, classes: 20, policies: 5, peers: 200 },
  { pods: 250, classes: 4, policies: 5, peers: 10_000 },
  { ...MANY_POLICIES, ownWords: true },
  MANY_POLICIES,
  MANY_PODS,
];

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
  const apart = grid.filter(({ policies }) => policies > 1).map((shape): Shape => ({ ...shape, ownWords: true }));
  return [...grid, ...apart, ...large];
}

export function shapeText({ pods, classes, policies, peers, ownWords }: Shape): string {
  return `${pods} pods, ${classes} classes x ${policies}, ${peers} peers${ownWords ? ', own words' : ''}`;
}
