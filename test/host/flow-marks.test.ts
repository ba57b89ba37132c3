import assert from 'node:assert/strict';
import { CommandFailed, type CommandRequest, runCommand } from '../../src/host/command.ts';
import type { FlowCount } from '../../src/host/flow-counter.ts';
import { createFlowMarks } from '../../src/host/flow-marks.ts';

const flow = (state: string, port: number, server = '10.96.0.1'): string =>
  `tcp      6 431999 ${state} src=10.0.0.1 dst=${server} sport=${port} dport=80 ` +
  `src=10.0.0.2 dst=10.0.0.1 sport=8080 dport=${port} [ASSURED] mark=33554432 use=1\n`;
const CARRIED = { value: 0x2000000, mask: 0xff000000 };
const BITS = 0xfe000000;

function bench(...listings: readonly string[]) {
  const commands: string[] = [];
  const left = [...listings];
  const marks = createFlowMarks((request: CommandRequest) => {
    commands.push(request.argv.join(' '));
    assert.equal(request.background, true);
    if (request.argv[1] === '-U' && request.argv.includes('40002'))
      return Promise.reject(new CommandFailed(request, 'exit', 1, '0 flow entries have been updated'));
    const stdout = request.argv[1] === '-L' ? (left.length > 1 ? left.shift()! : left[0]!) : '';
    return Promise.resolve({ stdout, stderr: '', durationMs: 1 });
  });
  return { marks, commands };
}

describe('marks of live flows', () => {
  it('asks the kernel for one mark, and once more before the answer is: none', async () => {
    const { marks, commands } = bench('');
    assert.equal(await marks.count(6, CARRIED), 0);
    assert.deepEqual(
      commands,
      Array.from({ length: 2 }, () => 'conntrack -L -f ipv6 -m 0x2000000/0xff000000'),
    );
    const late = bench('', flow('ESTABLISHED', 1));
    assert.equal(await late.marks.count(4, CARRIED), 1, 'missed by a walk while the table was resized');
  });

  it('each flow counts, whatever its state: one that is over may go on while conntrack remembers it', async () => {
    for (const state of ['ESTABLISHED', 'TIME_WAIT', 'CLOSE', 'SYN_SENT'])
      assert.equal(await bench(flow(state, 1)).marks.count(4, CARRIED), 1, state);
    const unreplied = 'udp 17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=53 [UNREPLIED] src=10.0.0.2 mark=1 use=1\n';
    assert.equal(await bench(unreplied + flow('CLOSE', 2)).marks.count(4, CARRIED), 2);
  });

  it('takes the mark off by the original direction; a flow that ended meanwhile is no failure', async () => {
    const { marks, commands } = bench(flow('ESTABLISHED', 40_001) + flow('ESTABLISHED', 40_002));
    await marks.clearSome(4, CARRIED, BITS);
    assert.deepEqual(commands.slice(1), [
      'conntrack -U -f ipv4 -p tcp -s 10.0.0.1 -d 10.96.0.1 --dport 80 --sport 40001 -m 0x0/0xfe000000',
      'conntrack -U -f ipv4 -p tcp -s 10.0.0.1 -d 10.96.0.1 --dport 80 --sport 40002 -m 0x0/0xfe000000',
    ]);
  });

  it('many flows between the same ends are one command; the largest group goes first, and not all in one go', async () => {
    const others = Array.from({ length: 20 }, (_, n) => flow('ESTABLISHED', 50_000 + n, `10.96.1.${n}`));
    const { marks, commands } = bench(
      `${others.join('')}${flow('ESTABLISHED', 1)}${flow('CLOSE', 2)}${flow('CLOSE', 3)}`,
    );
    await marks.clearSome(4, CARRIED, BITS);
    assert.equal(commands[1], 'conntrack -U -f ipv4 -p tcp -s 10.0.0.1 -d 10.96.0.1 --dport 80 -m 0x0/0xfe000000');
    assert.match(commands[2]!, /-d 10\.96\.1\.0 --dport 80 --sport 50000 /);
    assert.equal(commands.length, 1 + 8);
  });

  it('protocols without ports; not what is in a zone, which the tool cannot change', async () => {
    const { marks, commands } = bench(
      'icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=7 mark=2 use=1\n' +
        'unknown  4 599 src=10.0.0.3 dst=10.0.0.4 [UNREPLIED] src=10.0.0.4 dst=10.0.0.3 mark=2 use=1\n' +
        'gre      47 999 src=10.0.0.5 dst=10.0.0.6 srckey=0x1 dstkey=0x2 [UNREPLIED] src=10.0.0.6 dst=10.0.0.5 mark=2 use=1\n' +
        'udp      17 9 src=10.0.0.9 dst=10.0.0.4 sport=7 dport=8 [UNREPLIED] src=10.0.0.4 dst=10.0.0.9 sport=8 dport=7 mark=2 zone=5 use=1\n',
    );
    await marks.clearSome(4, CARRIED, BITS);
    assert.deepEqual(
      commands.slice(1).map((command) => command.slice('conntrack -U -f ipv4 '.length, -' -m 0x0/0xfe000000'.length)),
      ['-s 10.0.0.1 -d 10.0.0.2', '-s 10.0.0.3 -d 10.0.0.4', '-s 10.0.0.5 -d 10.0.0.6'],
    );
  });
});

describe('marks of live flows that are counted without the tool', () => {
  const counting = (...counts: readonly (FlowCount | undefined)[]) => {
    const left = [...counts];
    const commands: string[] = [];
    const marks = createFlowMarks(
      ({ argv }) => {
        commands.push(argv.join(' '));
        return Promise.resolve({ stdout: flow('CLOSE', 1), stderr: '', durationMs: 1 });
      },
      { count: async () => left.shift() },
    );
    return { marks, commands, left };
  };

  it('no process is started; none is asked for twice only where a walk may have missed some', async () => {
    const { marks, commands, left } = counting(
      { flows: 0, mayMiss: false },
      { flows: 3, mayMiss: true },
      { flows: 0, mayMiss: true },
      { flows: 2, mayMiss: true },
    );
    assert.equal(await marks.count(4, CARRIED), 0);
    assert.equal(await marks.count(4, CARRIED), 3);
    assert.equal(await marks.count(4, CARRIED), 2);
    assert.deepEqual([commands.length, left.length], [0, 0]);
  });

  it('fault: what cannot be told so is asked of the tool', async () => {
    const { marks, commands } = counting(undefined);
    assert.equal(await marks.count(4, CARRIED), 1);
    assert.deepEqual(commands, ['conntrack -L -f ipv4 -m 0x2000000/0xff000000']);
  });
});

describe('a command of which the beginning is enough', () => {
  it('is ended, and what it printed is its result', async () => {
    const { stdout } = await runCommand({ argv: ['yes', 'line'], timeoutMs: 5_000, stopAfterBytes: 10 });
    assert.match(stdout, /^line\nline\n/);
  });
});

describe('a command in the background', () => {
  it('lets others go first', async () => {
    const argv = ['sh', '-c', 'sleep 0.1; nice'] as const;
    assert.equal((await runCommand({ argv, timeoutMs: 5_000, background: true })).stdout, '19\n');
  });
});
