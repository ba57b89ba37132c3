/** A part of the bundle, as esbuild divides it into modules, made a script that load-parts.ts runs: only of a script V8 keeps compiled code. */
import vm from 'node:vm';
import { transform } from 'esbuild';

const IMPORT = /^import(?:\{([^}]*)\}from)?("[^"]+");/;
const EXPORT = /export\{([^}]*)\};\s*$/;

/**
 * What parts give each other are values: a variable is quicker to read than the getter that esbuild makes for each name, and takes less
 * memory. So no part may change what it exports, nor need one that needs it (`refuseCircles`). `text`: a module without whitespace.
 */
export async function asScript(text: string, sourcefile: string): Promise<string> {
  let head = '';
  let body = text;
  for (let found = IMPORT.exec(body); found; found = IMPORT.exec(body)) {
    const [statement, names, path] = found;
    head += names === undefined ? `require(${path});` : `const{${fields(names)}}=require(${path});`;
    body = body.slice(statement.length);
  }
  body = body.replace(EXPORT, (_, names: string) => {
    const changed = pairs(names).find(([name]) => assignments(text, name) > 1);
    if (changed) throw new Error(`${sourcefile}: ${changed[0]} is exported, and assigned more than once`);
    return `module.exports={${fields(names, true)}};`;
  });
  // A script has neither imports nor exports: in any other form than those above they are errors.
  new vm.Script(`() => {${head}${body}\n}`, { filename: sourcefile });
  const { code } = await transform(head + body, {
    sourcefile,
    format: 'cjs',
    platform: 'node',
    target: 'node22.19',
    supported: { 'dynamic-import': false },
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    // As a module is.
    banner: '"use strict";',
  });
  return code;
}

/** `a as b` of esbuild's lists, as `a` and `b`. */
function pairs(names: string): readonly (readonly [before: string, after: string])[] {
  return names.split(',').map((each) => {
    const [before, after = before] = each.split(' as ');
    return [before!, after!];
  });
}

/** The list as fields of an object; `isExported`: named by what comes after `as`. */
function fields(names: string, isExported = false): string {
  return pairs(names)
    .map(([before, after]) => (isExported ? `${after}:${before}` : `${before}:${after}`))
    .join();
}

const WRITES = String.raw`=(?![=>])|(?:[-+*/%&|^]|\*\*|<<|>>>?|&&|\|\||\?\?)=|\+\+|--`;

/** How often a variable is written to, its declaration included, and variables of inner scopes that are called the same. */
function assignments(text: string, name: string): number {
  const quoted = name.replaceAll('$', String.raw`\$`);
  const written = String.raw`(?<![\w$.])${quoted}(?:${WRITES})|(?:\+\+|--)${quoted}(?![\w$])`;
  return text.match(new RegExp(written, 'g'))?.length ?? 0;
}

interface Output {
  readonly imports: readonly { readonly path: string; readonly kind: string }[];
}

/** By file. Throws if a part needs itself, by however many others; one that is loaded later, when it is asked for, may. */
export function refuseCircles(outputs: Readonly<Record<string, Output>>): void {
  const done = new Set<string>();
  const follow = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) throw new Error(`parts of the bundle in a circle: ${[...way, file].join(' -> ')}`);
    if (done.has(file)) return;
    for (const { path, kind } of outputs[file]?.imports ?? [])
      if (kind === 'import-statement') follow(path, [...way, file]);
    done.add(file);
  };
  for (const file of Object.keys(outputs)) follow(file, []);
}
