/** Every scenario on the data plane of nftables. */
import { describeScenarios } from '../support/describe-scenarios.ts';

describeScenarios('iptables-nft', 'routed', 'nftables');
