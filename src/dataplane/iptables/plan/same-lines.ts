/** Whether two chains hold the same rules in the same order. */
export function sameLines(a: readonly string[], b: readonly string[] | undefined): boolean {
  return a === b || (b !== undefined && a.length === b.length && a.every((line, index) => line === b[index]));
}
