/** What is measured often is there for whoever asks, and takes no room however long nobody does. */
import assert from 'node:assert/strict';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

import { HeldValues } from '../../src/telemetry/held-values.ts';

const TEXT = { help: 'h', labelNames: ['kind'] as const };

describe('HeldValues', () => {
  it('a counter is there at 0, and has all that was counted after each flush', async () => {
    const { registry, held } = empty();
    const counter = held.counter(new Counter({ name: 'c', registers: [registry], ...TEXT }).labels({ kind: 'a' }));
    assert.match(await registry.metrics(), /^c\{kind="a"\} 0$/m);
    for (let each = 0; each < 3; each++) counter.inc();
    held.flush();
    assert.match(await registry.metrics(), /^c\{kind="a"\} 3$/m);
    counter.inc();
    held.flush();
    held.flush();
    assert.match(await registry.metrics(), /^c\{kind="a"\} 4$/m);
  });

  it('of a gauge the last value counts; one that was never set keeps what it has', async () => {
    const { registry, held } = empty();
    const gauge = held.gauge(new Gauge({ name: 'g', help: 'h', registers: [registry] }));
    held.gauge(new Gauge({ name: 'never', help: 'h', registers: [registry] }));
    gauge.set(5);
    gauge.set(3);
    held.flush();
    const text = await registry.metrics();
    assert.match(text, /^g 3$/m);
    assert.match(text, /^never 0$/m);
  });

  it('a histogram has each value once, also of more than are held', async () => {
    const { registry, held } = empty();
    const histogram = new Histogram({ name: 'h', buckets: [10, 600], registers: [registry], ...TEXT });
    const child = held.histogram(histogram.labels({ kind: 'a' }));
    for (let value = 1; value <= 600; value++) child.observe(value);
    // Nobody asked so far.
    assert.match(await registry.metrics(), /^h_count\{kind="a"\} 512$/m);
    held.flush();
    held.flush();
    const text = await registry.metrics();
    assert.match(text, /^h_bucket\{le="10",kind="a"\} 10$/m);
    assert.match(text, /^h_count\{kind="a"\} 600$/m);
    assert.match(text, /^h_sum\{kind="a"\} 180300$/m);
  });
});

function empty() {
  return { registry: new Registry(), held: new HeldValues() };
}
