/** What is used of the package, which has no types of its own. */
declare module 'longest-prefix-match' {
  export default class LongestPrefixMatch<V> {
    addPrefix(cidr: string, value: V): void;
    /** The values of the longest prefix that holds `cidr`. */
    getMatch(cidr: string): readonly V[];
  }
}
