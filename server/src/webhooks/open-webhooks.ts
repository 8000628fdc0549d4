/** Webhooks as the configuration has them. */
import { readFileSync } from 'node:fs';
import { SkerryError } from '../errors/skerry-error.ts';
import { RegistryReach } from '../images/bases/registry-reach.ts';
import { parseWebhookSecret } from './signature.ts';
import { Webhooks, type WebhooksOptions } from './webhooks.ts';

export interface WebhookConfig {
  readonly webhookUrls: readonly string[];
  readonly webhookSecretFile: string;
  readonly webhookPrivate: readonly string[];
}

/**
 * @returns undefined where there are none
 * @throws SkerryError `invalid-argument` for a secret that is none, or a private network
 */
export function openWebhooks(
  { webhookUrls, webhookSecretFile, webhookPrivate }: WebhookConfig,
  parts: Omit<WebhooksOptions, 'receivers' | 'key'>,
): Webhooks | undefined {
  if (webhookUrls.length === 0) return undefined;
  const reach = new RegistryReach({
    ...{ named: [], allowed: webhookPrivate },
    told: { what: 'webhooks go to', setting: '--webhook-private' },
  });
  return new Webhooks({
    ...parts,
    key: parseWebhookSecret(readSecret(webhookSecretFile)),
    receivers: [...new Set(webhookUrls)].map((url) => ({ url: new URL(url), reach })),
  });
}

function readSecret(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SkerryError(
      'invalid-argument',
      'Webhooks are signed: --webhook-secret-file must name a file that the server can read.',
      { cause },
    );
  }
}
