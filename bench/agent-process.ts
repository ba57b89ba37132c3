/** The agent as the image runs it: one bundled file, its flags, a service account, the real kernel. */
import { join } from 'node:path';
import { build } from 'esbuild';
import type { ApiProcess } from './api-process.ts';
import { LOCAL_NODE } from './cluster-model.ts';
import { IMAGE_FLAGS } from './suites.ts';
import { WatchedProcess } from './watched-process.ts';

const HTTP = '127.0.0.1:9847';
export const FIRST_PASS = 'first pass done';

/** As scripts/build.ts makes it. Result: the file. */
export async function bundleAgent(directory: string): Promise<string> {
  const outfile = join(directory, 'portcullis.mjs');
  const require = `import { createRequire as portcullisCreateRequire } from 'node:module';
const require = portcullisCreateRequire(import.meta.url);`;
  await build({
    entryPoints: [join(import.meta.dirname, '../src/main.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node22.19',
    format: 'esm',
    banner: { js: require },
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'warning',
  });
  return outfile;
}

export function startAgent(bundle: string, api: ApiProcess): WatchedProcess {
  const flags = ['--node-name', LOCAL_NODE, '--service-account-dir', api.serviceAccountDir, '--http-address', HTTP];
  return new WatchedProcess(
    [process.execPath, ...IMAGE_FLAGS, bundle, 'agent', ...flags, '--backend', 'iptables-nft'],
    {
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(api.port),
    },
  );
}

/** The longest stall of its event loop since the start or the last call, in ms, as its own metrics have it. */
export async function longestStallMs(): Promise<number> {
  const response = await fetch(`http://${HTTP}/metrics`);
  const found = /^nodejs_eventloop_lag_max_seconds(?:\{[^}]*\})? (\S+)$/m.exec(await response.text());
  return Number(found?.[1]) * 1000;
}
