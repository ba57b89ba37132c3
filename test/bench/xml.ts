/** Just enough of XML to tell that a file is well formed: names, attributes, balance. */

const TOKEN = /<(\/?)([A-Za-z][\w:-]*)((?:\s+[A-Za-z][\w:-]*="[^"<>]*")*)\s*(\/?)>|[^<>]+/gy;
const BARE_AMPERSAND = /&(?!(?:amp|lt|gt|quot|#\d+);)/;

/** Names of the elements in the order they open. Throws at the first thing that is not well formed. */
export function readElements(text: string): readonly string[] {
  const names: string[] = [];
  const open: string[] = [];
  let end = 0;
  if (BARE_AMPERSAND.test(text)) throw new Error('an ampersand is not escaped');
  for (const [token, closing, name, attributes, empty] of text.matchAll(TOKEN)) {
    end += token.length;
    if (name === undefined) continue;
    const attributeNames = [...attributes!.matchAll(/([\w:-]+)="/g)].map(([, attribute]) => attribute);
    if (new Set(attributeNames).size < attributeNames.length) throw new Error(`<${name}> has an attribute twice`);
    if (closing) {
      if (open.pop() !== name) throw new Error(`</${name}> closes nothing`);
      continue;
    }
    if (open.length === 0 && names.length > 0) throw new Error(`<${name}> is a second root`);
    names.push(name);
    if (!empty) open.push(name);
  }
  if (end !== text.length) throw new Error(`not understood: ${text.slice(end, end + 40)}`);
  if (open.length > 0) throw new Error(`<${open.at(-1)}> stays open`);
  return names;
}
