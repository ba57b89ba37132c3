/**
 * `node scripts/image-root.ts FOLDER DIST` lays out the image's root: this Node.js without its symbols, the programs of IMAGE_TOOLS with the
 * libraries and files they need, DIST (scripts/build.ts) as /opt/portcullis, licences, the list of packages for scanners and an SBOM. All
 * of it is taken from this Debian system, nothing is built. Times are SOURCE_DATE_EPOCH's, so that the same system gives the same bytes.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { IMAGE_FOLDERS, IMAGE_TOOLS } from './image.ts';

const ROOT = join(import.meta.dirname, '..');
const PATH = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];
const NODE = '/usr/bin/node';
/** Debian's root: programs and libraries live below /usr. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Its paragraph of dpkg's status. */
  readonly paragraph: string;
}

interface ImageRoot {
  readonly bytes: number;
  readonly packages: readonly DebianPackage[];
}

/** `folder` is replaced. Throws where something is not on this system, naming it and the package. */
export function layOutImage(folder: string, dist: string): ImageRoot {
  rmSync(folder, { recursive: true, force: true });
  const tree = new Tree(folder);
  for (const name of MERGED) if (existsSync(`/${name}`)) tree.link(`/${name}`, `usr/${name}`);
  for (const name of IMAGE_FOLDERS) mkdirSync(join(folder, name), { recursive: true });
  tree.add(process.execPath, NODE);
  execFileSync('strip', [join(folder, NODE)]);
  const libraries = dirname(realpathSync(libraryOf(process.execPath, 'libc.so.6')));
  for (const { package: owner, programs, files = [] } of IMAGE_TOOLS) {
    for (const program of programs) tree.add(find(program, owner));
    for (const file of files) tree.addAll(file.replace('LIB', libraries), owner);
  }
  tree.addLibraries();
  const packages = owners(tree.sources());
  for (const one of packages) tree.describe(one);
  addNodeLicense(folder);
  cpSync(dist, join(folder, 'opt/portcullis'), { recursive: true });
  copyFileSync(join(ROOT, 'LICENSE'), join(folder, 'opt/portcullis/LICENSE'));
  copyFileSync('/etc/os-release', join(folder, 'etc/os-release'));
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0:root:/:/nonexistent\n');
  writeFileSync(join(folder, 'etc/group'), 'root:x:0:\n');
  writeFileSync(join(folder, 'opt/portcullis/sbom.cdx.json'), `${JSON.stringify(bill(packages), undefined, 1)}\n`);
  return { bytes: settle(folder, epoch()), packages };
}

function find(program: string, owner: string): string {
  const found = PATH.map((place) => join(place, program)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${program} is not on this system: install ${owner}`);
  return found;
}

/** Files of this system under the same paths in `folder`, with the libraries they are linked with. */
class Tree {
  readonly #folder: string;
  readonly #sources = new Set<string>();
  readonly #linked = new Set<string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Real paths on this system of what was taken from it. */
  sources(): readonly string[] {
    return [...this.#sources].filter((path) => path !== process.execPath);
  }

  link(path: string, target: string): void {
    const place = join(this.#folder, path);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(target, place);
    mkdirSync(join(dirname(place), target), { recursive: true });
  }

  addAll(path: string, owner: string): void {
    if (!existsSync(path)) throw new Error(`${path} is not on this system: install ${owner}`);
    const isFolder = statSync(path).isDirectory();
    const paths = isFolder ? readdirSync(path).map((name) => join(path, name)) : [path];
    for (const each of paths.sort()) this.add(each);
  }

  /** A file, or a link with the file that it leads to. */
  add(path: string, as = path): void {
    const place = join(this.#folder, canonical(as));
    if (existsSync(place)) return;
    mkdirSync(dirname(place), { recursive: true });
    if (as === path && lstatSync(path).isSymbolicLink()) {
      const target = readlinkSync(path);
      // Debian's alternatives lead out of /usr and back.
      const next = resolve(dirname(path), target);
      symlinkSync(target.startsWith('/') ? canonical(target) : target, place);
      this.add(next);
      return;
    }
    copyFileSync(path, place);
    chmodSync(place, statSync(path).mode & 0o111 ? 0o755 : 0o644);
    this.#sources.add(realpathSync(path));
    if (isElf(path)) this.#linked.add(path);
  }

  /** Of all that was added; asked for at once, as each question starts a shell. */
  addLibraries(): void {
    for (const library of linkedWith([...this.#linked])) this.add(library);
  }

  /** What a distribution must say of a package that it hands on, and what scanners look for. */
  describe({ name, paragraph }: DebianPackage): void {
    const doc = join(this.#folder, 'usr/share/doc', name);
    mkdirSync(doc, { recursive: true });
    copyFileSync(join('/usr/share/doc', name, 'copyright'), join(doc, 'copyright'));
    const status = join(this.#folder, 'var/lib/dpkg/status.d');
    mkdirSync(status, { recursive: true });
    writeFileSync(join(status, name), `${paragraph}\n`);
  }
}

/** Below /usr where this system has merged its root. */
function canonical(path: string): string {
  const [, top = ''] = path.split('/');
  return MERGED.includes(top) && lstatSync(`/${top}`).isSymbolicLink() ? `/usr${path}` : path;
}

/** What the dynamic linker loads for them, itself included. */
function linkedWith(paths: readonly string[]): ReadonlySet<string> {
  const text = execFileSync('ldd', paths, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const missing = /^.*not found.*$/m.exec(text);
  if (missing) throw new Error(`a library is not on this system: ${missing[0].trim()}`);
  return new Set([...text.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, library]) => library!));
}

function libraryOf(program: string, name: string): string {
  const found = [...linkedWith([program])].find((path) => basename(path) === name);
  if (found === undefined) throw new Error(`${program} is not linked with ${name}`);
  return found;
}

function isElf(path: string): boolean {
  return readFileSync(path).subarray(0, 4).toString('latin1') === '\x7fELF';
}

/** The packages that own the files, by name. dpkg knows files by the path they were packed under, before or after the merge. */
function owners(files: readonly string[]): readonly DebianPackage[] {
  const found = new Map<string, string>();
  for (const line of query(['--search', ...files, ...files.map((file) => file.replace(/^\/usr/, ''))]).split('\n')) {
    const [, name, path] = /^([^:,\s]+).*: (\/.*)$/.exec(line) ?? [];
    if (name !== undefined) found.set(canonical(path!), name);
  }
  const orphan = files.find((file) => !found.has(canonical(file)));
  if (orphan !== undefined) throw new Error(`${orphan}: no package owns it`);
  const names = [...new Set(files.map((file) => found.get(canonical(file))!))].sort();
  return names.map((name) => {
    const paragraph = query(['--status', name]).trim();
    const field = (key: string): string => new RegExp(`^${key}: (.*)$`, 'm').exec(paragraph)?.[1] ?? '';
    return { name: field('Package'), version: field('Version'), architecture: field('Architecture'), paragraph };
  });
}

/** Ends with 1 where it does not know one of the paths. */
function query(args: readonly string[]): string {
  return spawnSync('dpkg-query', args, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 }).stdout;
}

function addNodeLicense(folder: string): void {
  const near = join(dirname(realpathSync(process.execPath)), '..');
  const file = [join(near, 'LICENSE'), '/usr/local/LICENSE'].find((path) => existsSync(path));
  if (file === undefined) throw new Error(`no LICENSE of Node.js beside ${process.execPath}`);
  const place = join(folder, 'usr/share/doc/nodejs');
  mkdirSync(place, { recursive: true });
  copyFileSync(file, join(place, 'copyright'));
}

interface Bill {
  serialNumber?: string;
  readonly metadata: { timestamp?: string; readonly component: Record<string, unknown> };
  readonly components: Record<string, unknown>[];
}

/** npm's, with Node.js and Debian's packages, and without what differs each time. */
function bill(packages: readonly DebianPackage[]): Bill {
  const text = execFileSync('npm', ['sbom', '--omit', 'dev', '--sbom-format', 'cyclonedx'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const found = JSON.parse(text) as Bill;
  delete found.serialNumber;
  delete found.metadata.timestamp;
  Object.assign(found.metadata.component, { name: 'portcullis', type: 'container' });
  const version = process.version.slice(1);
  const others = packages.map((one) => ({
    type: 'library',
    name: one.name,
    version: one.version,
    purl: `pkg:deb/debian/${one.name}@${encodeURIComponent(one.version)}?arch=${one.architecture}`,
  }));
  found.components.push({ type: 'application', name: 'node', version, purl: `pkg:generic/node@${version}` }, ...others);
  return found;
}

/** Seconds. */
function epoch(): number {
  return Number(process.env.SOURCE_DATE_EPOCH ?? 0);
}

/** Gives everything the same time, and no rights but to read and run; the sum of all files' sizes. */
function settle(path: string, seconds: number): number {
  const found = lstatSync(path);
  let bytes = 0;
  if (found.isDirectory()) {
    for (const name of readdirSync(path)) bytes += settle(join(path, name), seconds);
    chmodSync(path, 0o755);
  } else if (found.isFile()) {
    bytes = found.size;
    chmodSync(path, found.mode & 0o111 ? 0o755 : 0o644);
  }
  lutimesSync(path, seconds, seconds);
  return bytes;
}

if (import.meta.main) {
  const [folder, dist] = process.argv.slice(2);
  if (folder === undefined || dist === undefined) throw new Error('usage: image-root.ts FOLDER DIST');
  const { bytes, packages } = layOutImage(resolve(folder), resolve(dist));
  console.log(
    `${folder}: ${(bytes / 1e6).toFixed(1)} MB, of ${packages.map(({ name, version }) => `${name} ${version}`).join(', ')}`,
  );
}
