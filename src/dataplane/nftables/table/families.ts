/**
 * Ours are two tables of one name: one of family inet, and one of family bridge where pods are ports of bridges. Chains and sets of both
 * are one `Table`; names of the second begin with its family, as no name in nft can.
 */
export const TABLE_FAMILIES = ['inet', 'bridge'] as const;
export type TableFamily = (typeof TABLE_FAMILIES)[number];

const BRIDGE = 'bridge ';

export function familyOfName(name: string): TableFamily {
  return name.startsWith(BRIDGE) ? 'bridge' : 'inet';
}

/** Of the tables that objects of these names are in. */
export function familiesOf(names: Iterable<string>): readonly TableFamily[] {
  const found = new Set([...names].map(familyOfName));
  return TABLE_FAMILIES.filter((family) => found.has(family));
}

/** As nft calls it in its table. */
export function localName(name: string): string {
  return name.startsWith(BRIDGE) ? name.slice(BRIDGE.length) : name;
}

/** What we call an object of that table. */
export function nameIn(family: TableFamily, local: string): string {
  return family === 'bridge' ? BRIDGE + local : local;
}

/** A base chain that the table of the family always has. */
export const FIRST_HOOK: Readonly<Record<TableFamily, string>> = {
  inet: 'forward',
  bridge: nameIn('bridge', 'prerouting'),
};
