/** How many denied flows are told, and how many packets are in no line. */
import { Counter, type Registry } from 'prom-client';
import { LEFT_OUT_REASONS, type LeftOutReason } from './denied-flows.ts';

export interface DenialMetrics {
  denialLogged(): void;
  denialsLeftOut(reason: LeftOutReason, packets: number): void;
}

export function denialMetrics(registry: Registry): DenialMetrics {
  const registers = [registry];
  const logged = new Counter({
    name: 'portcullis_denials_logged_total',
    help: 'Lines of the log that tell of denied flows',
    registers,
  });
  const leftOut = new Counter({
    name: 'portcullis_denials_left_out_total',
    help: 'Denied packets that reached the drop log and that no line tells of',
    labelNames: ['reason'],
    registers,
  });
  for (const reason of LEFT_OUT_REASONS) leftOut.inc({ reason }, 0);
  return {
    denialLogged: () => logged.inc(),
    denialsLeftOut: (reason, packets) => leftOut.inc({ reason }, packets),
  };
}
