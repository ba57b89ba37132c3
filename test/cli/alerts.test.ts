import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { type PodMonitor, scrapeConfig } from '../support/scrape-config.ts';
import { needTool } from '../support/test-tools.ts';

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly {
      readonly alert: string;
      readonly expr: string;
      readonly labels: { readonly severity: string };
      readonly annotations: { readonly runbook: string };
    }[];
  }[];
}

const ROOT = new URL('../../', import.meta.url);
const PAGE = 'docs/alerts.md';

function read(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}

const { spec } = parse(read('manifests/components/metrics/prometheus-rule.yaml')) as { readonly spec: Rules };
const ALERTS = spec.groups.flatMap(({ rules }) => rules);

/** Names of metrics as docs/metrics.md has them, which a test compares with the agent's. */
const METRICS = new Map(
  [...read('docs/metrics.md').matchAll(/^\| `(portcullis_\w+)` \| (\w+) \|/gm)].map(([, name, type]) => [name!, type!]),
);

function unknownMetrics(expression: string): readonly string[] {
  return [...expression.matchAll(/\bportcullis_\w+/g)]
    .map(([name]) => name)
    .filter((name) => {
      const base = name.replace(/_(?:bucket|sum|count)$/, '');
      return METRICS.get(base) !== 'histogram' && !METRICS.has(name);
    });
}

describe('alerts', () => {
  it('have a section each in the page, in the part of their severity', () => {
    const [, critical, warning] = read(PAGE).split(/^## (?:Critical|Warning)$/m);
    const sections = (text: string) => [...text.matchAll(/^### (\w+)$/gm)].map(([, name]) => name!);
    const named = (severity: string) =>
      ALERTS.filter(({ labels }) => labels.severity === severity).map(({ alert }) => alert);
    assert.deepEqual(sections(critical!).sort(), named('critical').sort());
    assert.deepEqual(sections(warning!).sort(), named('warning').sort());
    for (const { alert, annotations } of ALERTS) assert.equal(annotations.runbook, `${PAGE}#${alert.toLowerCase()}`);
  });

  it('ask for metrics that there are, and so does the dashboard', () => {
    assert.ok(METRICS.size > 20);
    const dashboard = read('manifests/components/metrics/dashboard.json');
    const expressions = [...ALERTS.map(({ expr }) => expr), dashboard];
    assert.deepEqual(expressions.flatMap(unknownMetrics), []);
  });

  it('are shown to whom has no operator as well: the page scrapes as the PodMonitor does', () => {
    const [, block] = /```yaml\n(scrape_configs:[\s\S]*?)```/.exec(read(PAGE))!;
    const shown = parse(block!) as { readonly scrape_configs: readonly unknown[] };
    const monitor = parse(read('manifests/components/metrics/pod-monitor.yaml')) as PodMonitor;
    assert.deepEqual(shown.scrape_configs, [scrapeConfig(monitor)]);
  });
});

describe('alerts, as Prometheus reads them', function () {
  this.timeout(60_000);
  let promtool: string;
  before(function () {
    promtool = needTool(this, 'promtool');
  });

  function runs(...args: readonly string[]): string {
    return execFileSync(promtool, args, { cwd: fileURLToPath(ROOT), encoding: 'utf8', stdio: 'pipe' });
  }

  it('are rules', () => {
    assert.match(runs('check', 'rules', 'manifests/helm/files/rules.yaml'), new RegExp(`${ALERTS.length} rules found`));
  });

  it('fire when they should and not in ordinary life (test/manifests/alerts.yaml)', () => {
    assert.match(runs('test', 'rules', 'test/manifests/alerts.yaml'), /SUCCESS/);
  });

  it('are all tried there', () => {
    const tried = read('test/manifests/alerts.yaml');
    for (const { alert } of ALERTS) assert.ok(tried.includes(alert), alert);
  });
});
