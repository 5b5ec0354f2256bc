/** How does a test have a device? With new keys, and a name. */
import type { PairingOptions } from '../../src/relay/client/connection.ts'
import { generateKeyPair } from '../../src/relay/protocol/noise.ts'
import type { Offer } from '../../src/relay/protocol/offer.ts'

/** What a new device pairs with. */
export async function pairing(offer: Offer): Promise<PairingOptions> {
  return { offer, own: await generateKeyPair(), kind: 'command', name: 'Laptop' }
}
