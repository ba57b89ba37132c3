/** The most one of several may have so that all together fit: `perOne`, or what is left of it after halving. */
export function fairShare(demands: Iterable<number>, perOne: number, together: number): number {
  const all = [...demands];
  let share = perOne;
  while (share > 1 && sumOfCapped(all, share) > together) share /= 2;
  return share;
}

function sumOfCapped(demands: readonly number[], most: number): number {
  let sum = 0;
  for (const demand of demands) sum += Math.min(demand, most);
  return sum;
}
