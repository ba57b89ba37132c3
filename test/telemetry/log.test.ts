import assert from 'node:assert/strict';
import { createLogger, LOG_LEVELS, type Logger, type LogLevel } from '../../src/telemetry/log.ts';
import { SILENT_LOGGER } from '../support/silent-logger.ts';

type Line = Record<string, unknown>;

function capture(level: LogLevel): { readonly logger: Logger; readonly lines: Line[] } {
  const lines: Line[] = [];
  const destination = { write: (line: string) => void lines.push(JSON.parse(line) as Line) };
  return { logger: createLogger({ level, destination }), lines };
}

describe('createLogger', () => {
  it('writes level, time, component, fields and message', () => {
    const { logger, lines } = capture('info');
    logger.child('watch').warn('lost', { kind: 'pods' });
    const [{ time, ...line }] = lines as [Line];
    assert.deepEqual(line, { level: 'warn', component: 'watch', kind: 'pods', message: 'lost' });
    assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  it('leaves out what is below its level', () => {
    for (const [index, level] of LOG_LEVELS.entries()) {
      const { logger, lines } = capture(level);
      for (const one of LOG_LEVELS) logger[one](one);
      assert.deepEqual(
        lines.map((line) => line.message),
        LOG_LEVELS.slice(index),
      );
    }
  });

  it('writes of an error its name, message and code; the stack at level debug only; never its other fields', () => {
    const error = Object.assign(new RangeError('too far'), { code: 'ERANGE', stdin: 'x'.repeat(1000) });
    const quiet = capture('info');
    quiet.logger.info('failed', { error });
    assert.deepEqual(quiet.lines[0]?.error, { name: 'RangeError', message: 'too far', code: 'ERANGE' });
    const loud = capture('debug');
    loud.logger.info('failed', { error });
    assert.match(String((loud.lines[0]!.error as Line).stack), /log\.test/);
  });
});

describe('SILENT_LOGGER', () => {
  it('can be used like any other', () => {
    for (const level of LOG_LEVELS) SILENT_LOGGER.child('x')[level]('nothing');
  });
});
