/** The licences of the packages in a bundle: esbuild's list of its inputs -> THIRD_PARTY_LICENSES.txt. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = 'node_modules/';
/** As packages name the files whose text must go along with a copy of them. */
const LICENSE_FILE = /^(?:un)?licen[sc]e|^copying|^notice/i;
const RULE = '='.repeat(100);

/** Folders of the packages that `inputs` (paths of files) belong to, sorted. A package may be there in two versions. */
export function bundledPackages(inputs: readonly string[]): readonly string[] {
  const folders = inputs.flatMap((path) => {
    const start = path.lastIndexOf(FOLDER);
    if (start < 0) return [];
    const words = path.slice(start + FOLDER.length).split('/');
    return [path.slice(0, start + FOLDER.length) + words.slice(0, words[0]!.startsWith('@') ? 2 : 1).join('/')];
  });
  return [...new Set(folders)].sort();
}

/** Name, version and licence text of each package. `folders` are relative to `root`; throws where one has no licence text. */
export function licenseTexts(root: string, folders: readonly string[]): string {
  const parts = folders.map((folder) => {
    const path = join(root, folder);
    const manifest = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')) as Record<string, unknown>;
    const title = `${String(manifest.name)} ${String(manifest.version)} (${String(manifest.license)})`;
    const files = readdirSync(path)
      .filter((name) => LICENSE_FILE.test(name))
      .sort();
    const texts = files.map((name) => readFileSync(join(path, name), 'utf8').trim()).filter((text) => text !== '');
    if (texts.length === 0) throw new Error(`${title}: no licence text in ${folder}, so it must not be bundled`);
    return `${RULE}\n${title}\n${RULE}\n\n${texts.join('\n\n')}\n`;
  });
  return `Portcullis contains the following packages.\n\n${parts.join('\n')}`;
}
