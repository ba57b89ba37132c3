/** What is served where. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAgentMetrics, createRegistry } from '../../src/telemetry/metrics.ts';
import { serveStatusPages } from '../../src/telemetry/status-pages.ts';
import { SILENT_LOGGER } from '../support/silent-logger.ts';

describe('serveStatusPages', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'status-pages-'));
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function ask(path: string, headers: Record<string, string> = {}): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: join(folder, 'sock'), path, headers, agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      asked.on('error', reject);
      asked.end();
    });
  }

  async function statuses(tokenFile: string | null, headers?: Record<string, string>): Promise<unknown> {
    const metrics = createAgentMetrics(createRegistry(), { processMetrics: false });
    const sources = {
      agent: undefined,
      cluster: undefined,
      denials: undefined,
      trace: undefined,
      flows: undefined,
      dataplane: () => undefined,
      startProblem: '',
      conditions: [],
    };
    const server = serveStatusPages({
      address: null,
      metricsAddress: { path: join(folder, 'sock') },
      tokenFile,
      sources,
      nodeName: 'n',
      version: '1',
      metrics,
      log: SILENT_LOGGER,
      logTail: () => '',
    });
    try {
      const answers = [];
      for (const path of ['/healthz', '/metrics', '/plan', '/denials', '/flows', '/log'])
        answers.push(await ask(path, headers));
      return answers;
    } finally {
      await server.close();
    }
  }

  it('shows plan, denials and live flows to other hosts where a token is asked for, and to those who have it', async () => {
    const file = join(folder, 'token');
    writeFileSync(file, 'secret');
    assert.deepEqual(await statuses(null), [200, 200, 404, 404, 404, 404]);
    assert.deepEqual(await statuses(file), [200, 401, 401, 401, 401, 401]);
    // No plan yet, and nothing that could be read.
    assert.deepEqual(await statuses(file, { authorization: 'Bearer secret' }), [200, 200, 503, 200, 500, 404]);
  });
});
