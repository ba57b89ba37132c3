/** SVG as text. A coordinate that is no number is refused here, so that none gets into a file. */

export type Attributes = Readonly<Record<string, string | number>>;

/** `children` are elements; text goes through `textElement`. */
export function element(name: string, attributes: Attributes, children: readonly string[] = []): string {
  const head = `<${name}${formatAttributes(name, attributes)}`;
  return children.length === 0 ? `${head}/>` : `${head}>\n${children.join('\n')}\n</${name}>`;
}

export function textElement(name: string, attributes: Attributes, text: string): string {
  return `<${name}${formatAttributes(name, attributes)}>${escaped(text)}</${name}>`;
}

function formatAttributes(element: string, attributes: Attributes): string {
  return Object.entries(attributes)
    .map(([name, value]) => ` ${name}="${escaped(formatValue(element, name, value))}"`)
    .join('');
}

/** Tenths of a pixel: the same numbers give the same text everywhere. */
function formatValue(element: string, name: string, value: string | number): string {
  if (typeof value === 'string') return value;
  if (!Number.isFinite(value)) throw new Error(`${name} of <${element}> is ${value}`);
  return String(Math.round(value * 10) / 10 + 0);
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
