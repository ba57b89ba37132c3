import assert from 'node:assert/strict';
import { CommandFailed, type CommandRequest, runCommand } from '../../src/kernel/command.ts';
import { createFlowMarks } from '../../src/kernel/flow-marks.ts';

const flow = (state: string, port: number): string =>
  `tcp      6 431999 ${state} src=10.0.0.1 dst=10.96.0.1 sport=${port} dport=80 ` +
  `src=10.0.0.2 dst=10.0.0.1 sport=8080 dport=${port} [ASSURED] mark=1 use=1\n`;

function bench(listing: string) {
  const commands: string[] = [];
  const marks = createFlowMarks((request: CommandRequest) => {
    commands.push(request.argv.join(' '));
    if (request.argv[1] === '-U' && request.argv.includes('40002'))
      return Promise.reject(new CommandFailed(request, 'exit', 1, '0 flow entries have been updated'));
    return Promise.resolve({ stdout: request.argv[1] === '-L' ? listing : '', stderr: '', durationMs: 1 });
  });
  return { marks, commands };
}

describe('marks of live flows', () => {
  it('asks the kernel for one mark; connections that are over do not count', async () => {
    const { marks, commands } = bench(flow('TIME_WAIT', 40_001) + flow('CLOSE', 40_002));
    assert.equal(await marks.isCarried(6, 0x2000000, 0xff000000), false);
    assert.deepEqual(commands, ['conntrack -L -f ipv6 -m 0x2000000/0xff000000']);
    assert.equal(await bench('').marks.isCarried(4, 0, 0x7), false);
    assert.equal(await bench(flow('CLOSE_WAIT', 1)).marks.isCarried(4, 0, 0x7), true);
    const unreplied = 'udp 17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=53 [UNREPLIED] src=10.0.0.2 mark=1 use=1\n';
    assert.equal(await bench(unreplied).marks.isCarried(4, 0, 0x7), true);
    assert.equal(await bench(flow('CLOSE', 1).repeat(1000)).marks.isCarried(4, 0, 0x7), true, 'more than it looks at');
  });

  it('takes the mark off by the original direction; a flow that ended meanwhile is no failure', async () => {
    const { marks, commands } = bench(
      flow('ESTABLISHED', 40_001) + flow('ESTABLISHED', 40_002) + flow('CLOSE', 40_003),
    );
    await marks.clear(4, 0x2000000, 0xff000000);
    assert.deepEqual(commands.slice(1).sort(), [
      'conntrack -U -f ipv4 -p tcp -s 10.0.0.1 -d 10.96.0.1 --sport 40001 --dport 80 -m 0x0/0xff000000',
      'conntrack -U -f ipv4 -p tcp -s 10.0.0.1 -d 10.96.0.1 --sport 40002 --dport 80 -m 0x0/0xff000000',
    ]);
  });
});

describe('a command of which the beginning is enough', () => {
  it('is ended, and what it printed is its result', async () => {
    const { stdout } = await runCommand({ argv: ['yes', 'line'], timeoutMs: 5_000, stopAfterBytes: 10 });
    assert.match(stdout, /^line\nline\n/);
  });
});
