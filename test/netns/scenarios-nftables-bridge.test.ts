/** Every scenario on the data plane of nftables, where pods are ports of a bridge: in a file of its own, as it can run beside the others. */
import { describeScenarios } from '../support/describe-scenarios.ts';

describeScenarios('iptables-nft', 'bridge', 'nftables');
