/** `portcullis cleanup`: both variants, both families, rules of this and of other versions, and rules of others that stay. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
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
import { fileURLToPath } from 'node:url';
import { AgentLab, BACKENDS, skipUnlessRoot } from '../support/agent-lab.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const RELEASES = new URL('../releases/', import.meta.url);
const VERSIONS = readdirSync(RELEASES, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);
const DONE = /nothing of Portcullis is left on this node\n$/;

for (const backend of BACKENDS) {
  describe(`portcullis cleanup (${backend})`, function () {
    this.timeout(90_000);
    let t: AgentLab;
    let folder: string;
    /** Both variants, all tables, with rules of others only. */
    let others = '';

    before(async function () {
      skipUnlessRoot.call(this);
      folder = mkdtempSync(join(tmpdir(), 'portcullis-cleanup-'));
      t = await AgentLab.create({ backend });
      await t.pods({ 'x/a': {}, 'x/b': { labels: { app: 'b' } } });
      t.policy('x/p', { ingress: [{ from: [{ podSelector: { matchLabels: { app: 'b' } } }] }] });
      await t.on('node-1', ['ipset', 'create', 'theirs', 'hash:ip']);
      await t.on('node-1', ['ipset', 'add', 'theirs', '192.0.2.9']);
      for (const variant of ['nft', 'legacy'] as const)
        for (const tool of ['iptables', 'ip6tables']) {
          const command = `${tool}-${variant}`;
          await t.on('node-1', [command, '-t', 'mangle', '-N', 'THEIRS']);
          await t.on('node-1', [
            command,
            '-t',
            'mangle',
            '-A',
            'FORWARD',
            '-m',
            'comment',
            '--comment',
            'PCL-like text',
            '-j',
            'THEIRS',
          ]);
          await t.on('node-1', [command, '-t', 'mangle', '-A', 'THEIRS', '-j', 'RETURN']);
        }
      await t.iptables(4, '-A', 'THEIRS', '-m', 'set', '--match-set', 'theirs', 'src', '-j', 'RETURN');
      others = await everything();
    });

    after(async () => {
      await t?.close();
      if (folder) rmSync(folder, { recursive: true });
    });

    async function everything(): Promise<string> {
      const texts = await Promise.all(
        ['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'].map((tool) =>
          t.on('node-1', [`${tool}-save`]),
        ),
      );
      const sets = (await t.on('node-1', ['ipset', 'save'])).trimEnd().split('\n').sort();
      return (
        [...texts, ...sets]
          .join('\n')
          .replaceAll(/^#.*\n/gm, '')
          // A table that somebody used once is listed for ever.
          .replaceAll(/^\*\w+\n(?::\w+ ACCEPT(?: \[\d+:\d+\])?\n)+COMMIT\n/gm, '')
          .replaceAll(/ (initval|hashsize) \S+| ?\[\d+:\d+\]/g, '')
      );
    }

    function cleanup(
      given: Readonly<Record<string, string>> = {},
    ): Promise<{ readonly code: number | null; readonly out: string }> {
      const files = ['--api-server-endpoints-file=off', `--policy-counters-file=${join(folder, 'counters.json')}`];
      const { argv, env } = t.lab.network.nodeCommand('node-1', [
        'env',
        ...Object.entries(given).map(([key, value]) => `${key}=${value}`),
        process.execPath,
        MAIN,
        'cleanup',
        ...files,
      ]);
      const [program, ...args] = argv;
      const child = spawn(program, args, { env: { ...process.env, ...env } });
      let out = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => {
          out += text;
        });
      return new Promise((resolve) => child.on('close', (code) => resolve({ code, out })));
    }

    it('while an agent runs it changes nothing', async () => {
      const agent = await t.start();
      const before = await t.restingText();
      const { code, out } = await cleanup();
      assert.equal(code, 1);
      assert.match(
        out,
        /^portcullis cleanup: an agent runs on this node and would write its rules again: stop it first/,
      );
      assert.equal(await t.restingText(), before);
      await agent.end('SIGKILL');
    });

    it('removes what an agent left, its file, and nothing else; a second time there is nothing to do', async () => {
      const counters = join(folder, 'counters.json');
      writeFileSync(counters, '{}');
      assert.notEqual(await everything(), others);
      const first = await cleanup();
      assert.match(first.out, /^removed [1-9]\d* chains and [1-9]\d* sets\nremoved .*counters\.json\n/);
      assert.match(first.out, DONE);
      assert.equal(first.code, 0);
      assert.equal(await everything(), others);
      assert.ok(!existsSync(counters));
      const second = await cleanup();
      assert.equal(second.out, 'nothing of Portcullis is left on this node\n');
      assert.equal(second.code, 0);
      assert.equal(await everything(), others);
    });

    for (const version of VERSIONS)
      it(`removes the rules of version ${version}, in both variants at once`, async () => {
        const read = (file: string): string => readFileSync(new URL(`${version}/${file}`, RELEASES), 'utf8');
        await t.on('node-1', ['ipset', 'restore'], read('sets.txt'));
        for (const variant of ['nft', 'legacy'])
          for (const family of [4, 6]) {
            const tool = `${family === 4 ? 'iptables' : 'ip6tables'}-${variant}-restore`;
            await t.on('node-1', [tool, '--noflush', '-w', '5'], read(`rules${family}.txt`));
          }
        assert.match(await everything(), /^:PCL-/m);
        const { code, out } = await cleanup();
        assert.match(out, DONE);
        assert.equal(code, 0);
        assert.equal(await everything(), others);
      });

    if (backend === 'iptables-nft')
      it('removes the table of nftables and that of a try, and none of others with such names', async () => {
        const agent = await t.start('node-1', { dataplane: 'nftables' });
        await agent.end('SIGKILL');
        const theirs = ['ip portcullis', 'ip6 portcullis', 'inet portcullis2', 'inet my-portcullis', 'inet Portcullis'];
        for (const table of [...theirs, 'inet portcullis-probe']) {
          const [family = '', name = ''] = table.split(' ');
          await t.on('node-1', ['nft', 'add', 'table', family, name]);
          await t.on('node-1', [
            'nft',
            'add',
            'chain',
            family,
            name,
            'forward',
            '{ type filter hook forward priority mangle; }',
          ]);
        }
        const tables = async () => {
          const listed = (await t.on('node-1', ['nft', 'list', 'tables'])).trimEnd().split('\n');
          return listed.map((line) => line.replace(/^table /, '')).filter((table) => /portcullis/i.test(table));
        };
        assert.deepEqual((await tables()).length, theirs.length + 2);
        const rules = () =>
          Promise.all(theirs.map((table) => t.on('node-1', ['nft', 'list', 'table', ...table.split(' ')])));
        const before = await rules();
        const first = await cleanup();
        assert.match(
          first.out,
          /^removed table inet portcullis of nftables\nremoved table inet portcullis-probe of nftables\n/,
        );
        assert.match(first.out, DONE);
        assert.equal(first.code, 0);
        assert.deepEqual((await tables()).sort(), [...theirs].sort());
        assert.deepEqual(await rules(), before);
        const second = await cleanup();
        assert.deepEqual([second.code, second.out], [0, 'nothing of Portcullis is left on this node\n']);
        assert.deepEqual((await tables()).sort(), [...theirs].sort());
        assert.equal(await everything(), others);
        for (const table of theirs) await t.on('node-1', ['nft', 'delete', 'table', ...table.split(' ')]);
      });

    if (backend === 'iptables-nft')
      it('fault: without the programs of iptables the table goes all the same, and that they were not asked is said', async () => {
        const agent = await t.start('node-1', { dataplane: 'nftables' });
        await agent.end('SIGKILL');
        const bin = join(folder, 'bin');
        mkdirSync(bin);
        symlinkSync('/usr/sbin/nft', join(bin, 'nft'));
        const { code, out } = await cleanup({ PATH: bin });
        assert.match(
          out,
          /^removed table inet portcullis of nftables\nportcullis cleanup: not all is gone:\n {2}iptables and IP sets were not looked at: .*not found/,
        );
        assert.equal(code, 1);
        assert.doesNotMatch(await t.on('node-1', ['nft', 'list', 'tables']), /inet portcullis\n/);
        assert.deepEqual(await cleanup(), { code: 0, out: 'nothing of Portcullis is left on this node\n' });
      });

    it('fault: a rule of others leads into a chain of ours: says which, and the rest goes', async () => {
      const agent = await t.start();
      await agent.end('SIGKILL');
      await t.iptables(4, '-A', 'THEIRS', '-j', 'PCL-FWD');
      const { code, out } = await cleanup();
      assert.equal(code, 1);
      assert.match(
        out,
        /^portcullis cleanup: not all is gone:\n {2}.*PCL-FWD[\s\S]*\(a rule of others that leads into a chain of ours must go first\)\n$/,
      );
      await t.iptables(4, '-D', 'THEIRS', '-j', 'PCL-FWD');
      const again = await cleanup();
      assert.match(again.out, DONE);
      assert.equal(await everything(), others);
    });
  });
}
