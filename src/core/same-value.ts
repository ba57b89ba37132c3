/** Whether two values of plain data (objects, lists, text, numbers) are equal. What is the same object is not looked into. */
export function isSameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  for (const key of keys) {
    if (left[key] === right[key] && right[key] !== undefined) continue;
    if (!Object.hasOwn(right, key) || !isSameValue(left[key], right[key])) return false;
  }
  return true;
}
