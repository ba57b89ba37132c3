import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { START } from '../../scripts/bundle.ts';
import { IMAGE_ENV, IMAGE_FLAGS, IMAGE_TOOLS } from '../../scripts/image.ts';

const ROOT = join(import.meta.dirname, '../..');
const DOCKERFILE = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
/** Loaded into a run: says of each part that was given compiled code whether V8 took it. */
const TELL = `
import vm from 'node:vm';
const told = [];
vm.Script = class extends vm.Script {
  constructor(code, options) {
    super(code, options);
    const file = options.filename?.split('/').at(-1);
    if (file?.endsWith('.cjs')) told.push([file, this.cachedDataRejected ?? 'none']);
  }
};
process.on('exit', () => process.stderr.write(JSON.stringify(told)));
`;

interface Run {
  readonly code: number | null;
  readonly output: string;
  /** By part: `used`, `refused` or `none`. */
  readonly compiled: readonly string[];
}

describe('the bundle and what is kept compiled of it', function () {
  this.timeout(120_000);
  let directory: string;
  let built: string;
  let folder: string;

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'portcullis-compiled-'));
    built = buildAsDockerfile(directory);
    writeFileSync(join(directory, 'tell.mjs'), TELL);
  });

  beforeEach(() => {
    folder = join(directory, 'dist');
    rmSync(folder, { recursive: true, force: true });
    cpSync(built, folder, { recursive: true });
  });

  after(() => rmSync(directory, { recursive: true, force: true }));

  /** As far as an agent comes without an API server. */
  const run = (flags = IMAGE_FLAGS): Run => {
    const agent = ['agent', '--node-name', 'n', '--service-account-dir', '/nonexistent', '--http-address', 'off'];
    const argv = [...flags, '--import', join(directory, 'tell.mjs'), join(folder, 'portcullis.mjs'), ...agent];
    const env = { PATH: '/nonexistent', KUBERNETES_SERVICE_HOST: '192.0.2.1' };
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8', env });
    const told = JSON.parse(stderr) as [string, boolean | 'none'][];
    return {
      code: status,
      output: stdout,
      compiled: told.map(([, isRejected]) => (isRejected === 'none' ? 'none' : isRejected ? 'refused' : 'used')),
    };
  };
  const kept = (): string[] => readdirSync(folder).filter((file) => file.endsWith('.compiled'));
  const expect = (found: Run, compiled: string): void => {
    assert.deepEqual([...new Set(found.compiled)], [compiled]);
    assert.equal(found.compiled.length, START.length, found.compiled.join());
    assert.match(found.output, /"message":"starting"/);
    assert.match(
      found.output,
      /service account CA: file \/nonexistent\/ca\.crt does not exist.*"message":"cannot start"/,
    );
    assert.equal(found.code, 1);
  };

  it('V8 takes what was kept, with the flags of the image', () => {
    expect(run(), 'used');
  });

  it('keeps nothing of what a start does not need', () => {
    assert.ok(readdirSync(folder).some((file) => /^kubeconfig-.*\.cjs$/.test(file)));
    assert.ok(!kept().some((file) => file.startsWith('kubeconfig')));
  });

  it('fault: nothing was kept', () => {
    for (const file of kept()) rmSync(join(folder, file));
    expect(run(), 'none');
  });

  it('fault: what was kept cannot be read', () => {
    for (const file of kept()) {
      rmSync(join(folder, file));
      mkdirSync(join(folder, file));
    }
    expect(run(), 'none');
  });

  it('fault: what was kept is empty, cut off, or changed in a byte', () => {
    for (const damage of [
      () => Buffer.alloc(0),
      (bytes: Buffer) => bytes.subarray(0, bytes.length / 2),
      (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -1), Buffer.of(bytes.at(-1)! ^ 1)]),
    ]) {
      for (const file of kept()) writeFileSync(join(folder, file), damage(readFileSync(join(built, file))));
      expect(run(), 'none');
    }
  });

  it('fault: what was kept is of another text, though of the same length', () => {
    for (const file of kept()) {
      const part = join(folder, file.replace('.compiled', ''));
      const text = readFileSync(part, 'utf8');
      writeFileSync(part, text.replace(/"use strict"/, "'use strict'"));
      assert.notEqual(readFileSync(part, 'utf8'), text);
    }
    expect(run(), 'none');
  });

  it('fault: other flags than those it was made with', () => {
    expect(run([...IMAGE_FLAGS, '--no-lazy']), 'refused');
  });

  it('a kubeconfig is read by the part that is loaded for it', () => {
    const file = join(directory, 'kubeconfig');
    writeFileSync(file, 'apiVersion: v1\nkind: Config\nclusters: []\ncurrent-context: nowhere\n');
    const argv = [join(folder, 'portcullis.mjs'), 'agent', '--node-name', 'n', '--kubeconfig', file];
    const { stdout } = spawnSync(process.execPath, [...argv, '--http-address', 'off'], { encoding: 'utf8' });
    assert.match(stdout, /current-context \\"nowhere\\" names no cluster/);
  });

  it('a page is the same as from the sources: its script and style are in the bundle', () => {
    const argv = ['matrix', '-f', join(ROOT, 'examples/three-tier'), '-o', 'html'];
    const pages = [join(folder, 'portcullis.mjs'), join(ROOT, 'src/main.ts')].map((program) =>
      execFileSync(process.execPath, [program, ...argv], { encoding: 'utf8' }),
    );
    assert.ok(pages[0]!.length > 20_000);
    assert.equal(pages[0], pages[1]);
  });

  for (const proxy of ['http', 'socks5']) {
    it(`a kubeconfig with a plugin for credentials and a proxy (${proxy}) needs nothing that was left out`, () => {
      const [file, asked] = [join(directory, 'with-plugin'), join(directory, `asked-${proxy}`)];
      const credential = {
        apiVersion: 'client.authentication.k8s.io/v1',
        kind: 'ExecCredential',
        status: { token: 't' },
      };
      const args = ['-c', `touch ${asked}; echo '${JSON.stringify(credential)}'`];
      const exec = { apiVersion: credential.apiVersion, interactiveMode: 'Never', command: 'sh', args };
      const config = {
        apiVersion: 'v1',
        kind: 'Config',
        // Nobody listens there.
        clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:9', 'proxy-url': `${proxy}://127.0.0.1:9` } }],
        users: [{ name: 'u', user: { exec } }],
        contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
        'current-context': 'x',
      };
      writeFileSync(file, JSON.stringify(config));
      const { stderr } = spawnSync(process.execPath, [join(folder, 'portcullis.mjs'), 'status', '--kubeconfig', file], {
        encoding: 'utf8',
      });
      assert.match(stderr, /cannot list networkpolicies: .*ECONNREFUSED 127\.0\.0\.1:9/);
      assert.ok(existsSync(asked));
    });
  }
});

describe('scripts/image.ts', () => {
  it('names packages that the Dockerfile installs in a version, but for those of every Debian', () => {
    const pinned = [...DOCKERFILE.matchAll(/'([a-z0-9-]+)=[\d:]+[.\d]*(?:-\d+)?\*'/g)].map(([, name]) => name!);
    const named = IMAGE_TOOLS.map((tool) => tool.package).filter((name) => !['coreutils', 'dash'].includes(name));
    assert.deepEqual(pinned.sort(), named.sort());
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { readonly version: string };
    assert.ok(DOCKERFILE.includes(`org.opencontainers.image.version="${version}"`));
  });

  it('says what the Dockerfile says', () => {
    const entry = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(DOCKERFILE)![1]!) as string[];
    assert.deepEqual(entry, ['node', ...IMAGE_FLAGS, '/opt/portcullis/portcullis.mjs']);
    const words = /^ENV (.*)$/m.exec(DOCKERFILE)![1]!.split(' ');
    assert.deepEqual(Object.fromEntries(words.map((word) => word.split('='))), IMAGE_ENV);
  });
});

/** From the files that the Dockerfile copies, and no others. */
function buildAsDockerfile(directory: string): string {
  const source = join(directory, 'source');
  for (const [, list, target] of DOCKERFILE.matchAll(/^COPY (?!--from)(.+) (\S+)$/gm)) {
    if (target!.startsWith('/')) continue;
    for (const file of list!.split(' ')) {
      const name = target!.endsWith('/') ? join(target!, file.split('/').at(-1)!) : target!;
      cpSync(join(ROOT, file), join(source, name), { recursive: true });
    }
  }
  symlinkSync(join(ROOT, 'node_modules'), join(source, 'node_modules'));
  execFileSync(process.execPath, [join(source, 'scripts/build.ts')], { stdio: 'pipe' });
  return join(source, 'dist');
}
