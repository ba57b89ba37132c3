/** Whether two values of plain data (objects, lists, text, numbers) are equal. What is the same object is not looked into. */
export function isSameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [ours, theirs] = [Object.keys(a), Object.keys(b)];
  if (ours.length !== theirs.length) return false;
  const [left, right] = [a, b] as Record<string, unknown>[];
  return ours.every((key) => Object.hasOwn(right!, key) && isSameValue(left![key], right![key]));
}
