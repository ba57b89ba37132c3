/**
 * The image's files, laid out from this system as the Dockerfile lays them out from Debian's, and an agent that has nothing else.
 * PORTCULLIS_IMAGE_ROOT: the folder of an image that was built and unpacked, to try instead.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '../../src/core/vocabulary.ts';
import { IMAGE_FLAGS, IMAGE_TOOLS } from '../../scripts/image.ts';
import { layOutImage } from '../../scripts/image-root.ts';
import { writeSeccompFilter } from '../support/container-seccomp.ts';
import { AgentLab, type AgentProcess, BACKENDS, skipUnlessRoot, until } from '../support/agent-lab.ts';

const ROOT = join(import.meta.dirname, '../..');
/** With some air over what it is: 127.4 MB with Debian bookworm's tools, 129.2 with trixie's; 108.5 of them are Node.js without its symbols. */
const MAX_BYTES = 130e6;
const PATH = '/usr/sbin:/usr/bin';
/** What a program is asked that does not know --version. */
const ARGUMENTS: Readonly<Record<string, readonly string[]>> = { sh: ['-c', 'exit 0'], ip: ['-V'], ulogd: ['-V'] };
const UNPACKED = process.env.PORTCULLIS_IMAGE_ROOT;

describe('the image', function () {
  this.timeout(180_000);
  let folder: string;
  let root: string;
  let dist: string;
  let bytes: number;

  before(function () {
    skipUnlessRoot.call(this);
    folder = mkdtempSync(join(tmpdir(), 'portcullis-image-'));
    [root, dist] = [UNPACKED ?? join(folder, 'root'), join(folder, 'dist')];
    if (UNPACKED !== undefined) return;
    execFileSync(process.execPath, [join(ROOT, 'scripts/build.ts'), dist], { stdio: 'pipe' });
    ({ bytes } = layOutImage(root, dist));
  });
  after(() => {
    if (folder) rmSync(folder, { recursive: true });
  });

  it('is small, and holds no file that gives rights, no shell script and nothing that a package manager left', () => {
    if (UNPACKED === undefined) assert.ok(bytes < MAX_BYTES, `${bytes} bytes`);
    for (const path of everything(root)) {
      const { mode } = lstatSync(join(root, path));
      if (!lstatSync(join(root, path)).isSymbolicLink()) assert.equal(mode & 0o7022, 0, `${path}: ${mode.toString(8)}`);
      assert.doesNotMatch(path, /\.(?:deb|sh|d\.ts|map)$|apt\/|\/npm/);
    }
  });

  it('has every library that its programs ask for, and no link that leads nowhere', () => {
    const loader = everything(root).find((path) => /^usr\/lib\/.*\/ld-linux[^/]*$/.test(path))!;
    const programs = everything(root).filter(
      (path) => isElf(join(root, path)) && !/\/ld-linux|\/lib(?:c|m|pthread|dl)[.-]/.test(path),
    );
    assert.ok(programs.length > 100);
    const missing = programs.flatMap((path) => {
      const { stdout, status } = spawnSync('chroot', [root, `/${loader}`, '--list', `/${path}`], { encoding: 'utf8' });
      return status === 0 && !stdout.includes('not found') ? [] : [`${path}: ${stdout}`];
    });
    assert.deepEqual(missing, []);
    for (const path of everything(root)) {
      const place = join(root, path);
      if (lstatSync(place).isSymbolicLink())
        assert.doesNotMatch(readlinkSync(place), /alternatives|^\/(?:etc|work|tmp)/);
    }
  });

  it('has the programs of the table, each of which runs there', () => {
    for (const program of IMAGE_TOOLS.flatMap(({ programs }) => programs)) {
      const args = ARGUMENTS[program] ?? ['--version'];
      const { status, stderr, error } = spawnSync('chroot', [root, program, ...args], {
        env: { PATH },
        encoding: 'utf8',
      });
      assert.equal(status, 0, `${program}: ${stderr} ${String(error ?? '')}`);
    }
  });

  it('says what is in it: licences, packages for scanners, a bill of materials', () => {
    const packages = readdirSync(join(root, 'var/lib/dpkg/status.d'));
    for (const { package: name } of IMAGE_TOOLS) assert.ok(packages.includes(name), name);
    for (const name of [...packages, 'nodejs']) {
      assert.ok(readFileSync(join(root, 'usr/share/doc', name, 'copyright'), 'utf8').length > 300, name);
    }
    const bill = JSON.parse(readFileSync(join(root, 'opt/portcullis/sbom.cdx.json'), 'utf8')) as {
      readonly bomFormat: string;
      readonly components: readonly { readonly name: string; readonly version: string; readonly purl: string }[];
    };
    assert.equal(bill.bomFormat, 'CycloneDX');
    const named = bill.components.map(({ name }) => name);
    for (const name of ['node', 'iptables', 'pino', 'prom-client', ...packages]) assert.ok(named.includes(name), name);
    for (const name of ['mocha', 'typescript']) assert.ok(!named.includes(name), name);
    for (const name of ['LICENSE', 'THIRD_PARTY_LICENSES.txt'])
      assert.ok(readFileSync(join(root, 'opt/portcullis', name), 'utf8').length > 1_000, name);
  });

  it('is the same, byte for byte and minute for minute, when it is laid out again', function () {
    if (UNPACKED !== undefined) this.skip();
    const again = join(folder, 'again');
    layOutImage(again, dist);
    assert.deepEqual(digests(again), digests(root));
  });

  for (const writesTo of [...BACKENDS, 'nftables'] as const) {
    it(`enforces with nothing but its own files and the capabilities of the manifests, ${writesTo}`, () =>
      enforces(writesTo));
  }

  it('the same under the seccomp filter of a container runtime (RuntimeDefault)', async function () {
    const filter = join(folder, 'seccomp.bpf');
    const missing = writeSeccompFilter(filter);
    if (missing !== undefined) {
      assert.ok(!process.env.CI, `not there: ${missing}; scripts/test-tools brings it`);
      this.skip();
    }
    for (const writesTo of ['iptables-nft', 'nftables'] as const) await enforces(writesTo, filter);
  });

  /** `filter`: a file with what seccomp asks; empty: none. */
  async function enforces(writesTo: Backend | 'nftables', filter = ''): Promise<void> {
    const lab = await AgentLab.create({
      backend: writesTo === 'nftables' ? 'iptables-nft' : writesTo,
      program: ['/usr/bin/node', ...IMAGE_FLAGS, '/opt/portcullis/portcullis.mjs'],
    });
    try {
      await lab.pods({ 'x/server': {}, 'x/a': { labels: { role: 'a' } }, 'x/b': {} });
      lab.policy('x/web', {
        podSelector: { matchLabels: { pod: 'server' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { role: 'a' } } }] }],
      });
      const agent = await lab.start('node-1', {
        dataplane: writesTo === 'nftables' ? writesTo : 'iptables',
        env: { PATH: `${PATH}:/sbin:/bin` },
        wrap: inContainer(lab, filter),
      });
      await lab.expect(['x/a -> x/server', 'x/b -x x/server', 'x/server -> x/b']);
      assert.deepEqual(confinement(agent), {
        CapEff: '0000000000003000',
        CapPrm: '0000000000003000',
        CapBnd: '0000000000003000',
        NoNewPrivs: '1',
        Seccomp: filter === '' ? '0' : '2',
      });
      await agent.logged((line) => line.verdict === 'denied', 'a denied packet, read by ulogd', 0, 10_000);
      lab.labelPod('x/b', { role: 'a' });
      await lab.expect(['x/b -> x/server']);
      if (writesTo === 'nftables') await lab.on('node-1', ['nft', 'flush', 'chain', 'inet', 'portcullis', 'forward']);
      else await lab.iptables(4, '-F', 'FORWARD');
      lab.labelPod('x/b', { role: null });
      await lab.expect(['x/a -> x/server', 'x/b -x x/server'], 15_000);
      await until(
        () => agent.log.some(({ message }) => /drift|changed by|repaired/i.test(message)),
        () => agent.tail(),
        10_000,
      );
      // A program that is not there, or a system call that is refused, is told, and done without.
      const complaints = agent.log.filter(
        ({ level, message }) => level !== 'info' && !message.startsWith('repaired: '),
      );
      assert.deepEqual(complaints, []);
    } finally {
      await lab.close();
    }
  }

  function inContainer(lab: AgentLab, filter: string): readonly string[] {
    const script = join(ROOT, 'test/support/container.pl');
    return ['unshare', '--mount', '--propagation', 'private', 'perl', script, root, lab.lab.dir, filter];
  }
});

/** Paths of all that is in the folder, relative to it, in order. */
function everything(folder: string, below = ''): readonly string[] {
  const entries = readdirSync(join(folder, below), { withFileTypes: true });
  return entries
    .flatMap((entry) => {
      const path = join(below, entry.name);
      return entry.isDirectory() ? [path, ...everything(folder, path)] : [path];
    })
    .sort();
}

function isElf(path: string): boolean {
  return lstatSync(path).isFile() && readFileSync(path).subarray(0, 4).toString('latin1') === '\x7fELF';
}

function digests(folder: string): readonly string[] {
  return everything(folder).map((path) => {
    const place = join(folder, path);
    const { mode, mtimeMs, ...found } = lstatSync(place);
    const isLink = lstatSync(place).isSymbolicLink();
    const content = lstatSync(place).isFile() ? readFileSync(place) : isLink ? readlinkSync(place) : '';
    const digest = createHash('sha256').update(content).digest('hex');
    return `${path} ${mode.toString(8)} ${mtimeMs} ${found.uid}:${found.gid} ${digest}`;
  });
}

function confinement(agent: AgentProcess): Readonly<Record<string, string>> {
  const status = readFileSync(`/proc/${agent.pid}/status`, 'utf8');
  const keys = ['CapEff', 'CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp'];
  return Object.fromEntries(keys.map((key) => [key, new RegExp(`^${key}:\\s*(\\S+)$`, 'm').exec(status)![1]!]));
}
