import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AgentConfig } from '../../src/cli/config.ts';
import type { Given } from '../../src/cli/flags.ts';

import { AGENT_FLAGS } from '../../src/cli/config.ts';
import { COMMANDS } from '../../src/cli/commands.ts';
import { readBoolean, readText } from '../../src/cli/read-value.ts';
import { type CommandLoaders, describeCrash, runProgram, wantsStack } from '../../src/cli/program.ts';

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly configs: readonly AgentConfig[];
  readonly moreGiven: readonly Given[];
}

const OTHERS = COMMANDS.map(({ name }) => name);
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
/* biome-ignore-start lint/suspicious/noTemplateCurlyInString: text of shells. */
/** What completes `portcullis agent --mode=a` without a terminal, by shell. */
const TRY: Readonly<Record<string, string>> = {
  bash: 'COMP_WORDS=(portcullis agent --mode = a) COMP_CWORD=4; _portcullis; printf "%s\\n" "${COMPREPLY[@]}"',
  zsh: 'words=(portcullis agent --mode a) CURRENT=4; _describe() { local -a got=("${(@P)2}"); print -l "${got[@]%%:*}" }; _portcullis',
  fish: 'complete -C "portcullis agent --mode a"',
};
/* biome-ignore-end lint/suspicious/noTemplateCurlyInString: text of shells. */

const NODE = ['agent', '--node-name=node-1'];

async function run(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
  load: Partial<CommandLoaders> = {},
): Promise<Run> {
  const written = { out: '', err: '' };
  const configs: AgentConfig[] = [];
  const moreGiven: Given[] = [];
  const code = await runProgram(argv, {
    env,
    version: '1.2.3',
    signal: new AbortController().signal,
    out: (text) => {
      written.out += text;
    },
    err: (text) => {
      written.err += text;
    },
    load: {
      agent: async () => ({
        runAgent: async (config) => {
          configs.push(config);
          return 1;
        },
      }),
      ...load,
    },
    more: [
      {
        name: 'more',
        summary: 'a command beside those of the product',
        description: 'More.',
        flags: [
          { name: 'demo', short: 'd', help: 'shows', read: readBoolean },
          { name: 'file', placeholder: '<path>', help: 'a file', read: readText },
        ],
        run: async (given) => {
          moreGiven.push(given);
          return 0;
        },
      },
    ],
  });
  return { code, ...written, configs, moreGiven };
}

function failing(error: unknown): Partial<CommandLoaders> {
  return { agent: async () => ({ runAgent: () => Promise.reject(error) }) };
}

describe('portcullis', () => {
  it('prints help and version on stdout, exit code 0', async () => {
    for (const flag of ['--help', '-h']) {
      const { code, out, err } = await run([flag]);
      assert.equal(code, 0);
      assert.equal(err, '');
      assert.match(out, /^ {2}agent +enforce/m);
      assert.match(out, /^ {2}more +a command/m);
      assert.match(out, /0 {2}success\n {2}1 {2}failure.*\n {2}2 {2}wrong usage/);
    }
    assert.equal((await run(['--version'])).out, '1.2.3\n');
  });

  it('lists no command that it does not have', async () => {
    const { out } = await run(['--help']);
    const listed = [...out.matchAll(/^ {2}([a-z]+) .*/gm)].map((found) => found[1]!);
    assert.deepEqual(listed, ['agent', ...OTHERS, 'more', 'completion', 'help']);
    for (const name of listed.slice(0, -1)) {
      const byFlag = await run([name, '--help']);
      assert.equal(byFlag.code, 0);
      assert.match(byFlag.out, new RegExp(`^Usage: portcullis ${name} `));
      assert.deepEqual(await run(['help', name]), byFlag);
      assert.deepEqual(await run([name, '-h']), byFlag);
    }
    assert.equal((await run(['help'])).out, out);
  });

  it('without a command prints help on stderr, exit code 2', async () => {
    const { code, out, err } = await run([]);
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, /Usage: portcullis <command>/);
  });

  it('says what was probably meant: commands and flags, exit code 2', async () => {
    for (const [argv, expected] of [
      [['agnet'], "portcullis: unknown command 'agnet' (Did you mean agent?)\nSee portcullis --help\n"],
      [['xyz'], "portcullis: unknown command 'xyz'\nSee portcullis --help\n"],
      [
        ['agent', '--moed=audit'],
        "portcullis agent: unknown flag '--moed' (Did you mean --mode?)\nSee portcullis agent --help\n",
      ],
      [['more', '--file'], 'portcullis more: --file: needs a value\nSee portcullis more --help\n'],
      [
        ['completion', 'tcsh'],
        "portcullis completion: command-argument value 'tcsh' is invalid for argument 'shell'. Allowed choices are bash, zsh, " +
          'fish.\nSee portcullis completion --help\n',
      ],
    ] as const) {
      const { code, err, out } = await run(argv);
      assert.deepEqual([code, err, out], [2, expected, '']);
    }
  });

  it('hands a command what was given, in order', async () => {
    assert.deepEqual((await run(['more'])).moreGiven, [new Map()]);
    assert.deepEqual((await run(['more', '-d', '--file=a', '--file', 'b'])).moreGiven, [
      new Map([
        ['demo', ['true']],
        ['file', ['a', 'b']],
      ]),
    ]);
  });
});

describe('portcullis completion', () => {
  for (const [words, expected] of [
    [[''], ['agent', ...OTHERS, 'more', 'completion', 'help']],
    [['co'], ['completion']],
    [['xyz', ''], []],
    [
      ['help', ''],
      ['agent', ...OTHERS, 'more', 'completion'],
    ],
    [
      ['completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [
      ['agent', '--mode', ''],
      ['enforce', 'audit', 'dry-run'],
    ],
    [['agent', '--mode=a'], ['audit']],
    [['agent', '--mode', '=', 'a'], ['audit']],
    [
      ['agent', '--mode', '='],
      ['enforce', 'audit', 'dry-run'],
    ],
    [['agent', '--node-name', ''], []],
    [['agent', '--mode=audit', '--no'], ['--node-name']],
    [
      ['more', '-d', ''],
      ['--demo', '--file'],
    ],
  ] as const) {
    it(`offers after ${JSON.stringify(words)} ${expected.join(' ') || 'nothing, so that files are offered'}`, async () => {
      const { code, out } = await run(['__complete', ...words]);
      assert.equal(code, 0);
      assert.deepEqual(
        out.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')[0]])),
        expected,
      );
    });
  }

  for (const shell of ['bash', 'zsh', 'fish'])
    it(`${shell} takes its script, and completes a flag's value by it`, async function () {
      const { out } = await run(['completion', shell]);
      const prelude = shell === 'zsh' ? 'compdef() { }\n' : '';
      const folder = mkdtempSync(join(tmpdir(), 'portcullis-completion-'));
      try {
        const program = join(folder, 'portcullis');
        writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`, { mode: 0o755 });
        const { status, stdout, error } = spawnSync(shell, ['-c', `${prelude}${out}\n${TRY[shell]!}`], {
          encoding: 'utf8',
          env: { PATH: `${folder}:${process.env.PATH}`, HOME: folder },
        });
        if (error) this.skip();
        assert.deepEqual([status, stdout.trim().split(/\s+/)], [0, ['audit']]);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
});

describe('portcullis agent', () => {
  it('reads flags and environment and returns the exit code of the agent', async () => {
    const { code, configs, out, err } = await run([...NODE, '--mode=audit'], { PORTCULLIS_LOG_LEVEL: 'warn' });
    assert.deepEqual([code, out, err], [1, '', '']);
    assert.deepEqual(
      configs.map((config) => [config.nodeName, config.mode, config.logLevel]),
      [['node-1', 'audit', 'warn']],
    );
  });

  it('reports wrong usage in one line and a hint, exit code 2, without loading the agent', async () => {
    const agent = (): never => assert.fail('loaded');
    const { code, err } = await run([...NODE, '--mode=x'], {}, { agent });
    assert.equal(code, 2);
    assert.equal(
      err,
      'portcullis agent: --mode: "x" is not one of enforce, audit, dry-run\nSee portcullis agent --help\n',
    );
  });

  it('--help shows every flag with its variable and default', async () => {
    const { code, out } = await run(['agent', '--mode=x', '--help']);
    assert.equal(code, 0);
    const words = out.replaceAll(/\s+/g, ' ');
    for (const flag of Object.values(AGENT_FLAGS)) {
      assert.ok(out.includes(`  --${flag.name} ${flag.placeholder}`), flag.name);
      assert.ok(words.includes(`environment ${flag.env})`), flag.env);
      if (flag.defaultText !== undefined) assert.ok(words.includes(`(default ${flag.defaultText}; `), flag.name);
    }
    for (const line of out.split('\n')) assert.ok(line.length <= 100, line);
  });

  it('turns a crash into one line and exit code 1; with debug the stack follows', async () => {
    const error = new Error('no iptables here');
    const { code, err } = await run(NODE, {}, failing(error));
    assert.deepEqual([code, err], [1, 'portcullis agent: no iptables here\n']);
    for (const [argv, env] of [
      [[...NODE, '--log-level', 'debug'], {}],
      [[...NODE, '--log-level=debug'], {}],
      [NODE, { PORTCULLIS_LOG_LEVEL: 'debug' }],
    ] as const) {
      assert.match((await run(argv, env, failing(error))).err, /no iptables here\n {4}at .*program\.test/);
    }
  });
});

describe('describeCrash', () => {
  it('copes with what is no Error', () => assert.equal(describeCrash('gone', true), 'gone'));
});

describe('wantsStack', () => {
  it('is not led astray by another flag with the value debug', () => {
    assert.equal(wantsStack(['--mode', 'debug', '--log-level', 'info'], {}), false);
  });
});
