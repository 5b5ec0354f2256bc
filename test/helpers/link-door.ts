/** How is the gateway tested with a link without a relay? At the link's own door, behind which a test keeps the devices. */
import { join } from 'node:path'
import type { Test } from 'tap'
import pino from 'pino'
import { openOwnerDoor, type OwnerActs } from '../../src/relay/link/owner-door.ts'
import { LinkError } from '../../src/relay/link/owner-errors.ts'
import type { DeviceView } from '../../src/relay/link/owner-protocol.ts'
import { deviceId } from './linked.ts'
import { temporaryFolder } from './process.ts'

/** A pairing link as the link makes it. */
export const PAIRING_LINK = 'https://houston.hubify.com/_gateway/remote/#012345678901234567890'

/** A device that is approved for Alice. */
export function aDevice(number: number, more: Partial<DeviceView> = {}): DeviceView {
  return {
    ...{ id: deviceId(number), name: 'Phone', kind: 'page', state: 'approved', sub: 'alice' },
    ...{ code: null, pairedAt: '2026-11-01T10:00:00.000Z', lastSeenAt: null, isConnected: false },
    ...more,
  }
}

/** A device that waits. */
export function aWaitingDevice(number: number, more: Partial<DeviceView> = {}): DeviceView {
  return aDevice(number, {
    ...{ state: 'waiting', code: '123456', isConnected: true, name: 'Tablet' },
    ...more,
  })
}

/** Opens the door of a link. It is closed when the test ends. */
export async function startLinkDoor(t: Test, devices: readonly DeviceView[] = []) {
  const socket = join(temporaryFolder(t), 'link-owner.sock')
  const kept = new Map(devices.map((device) => [device.id, device]))
  /** What the gateway has asked for, besides the list: the name of the act and its parts. */
  const asked: unknown[][] = []
  const change = (id: string, more: Partial<DeviceView>): DeviceView => {
    const known = kept.get(id)
    if (known === undefined) throw new LinkError('not-found', 'no device has this id')
    const changed = { ...known, ...more }
    kept.set(id, changed)
    return changed
  }
  const acts: OwnerActs = {
    status: () => {
      throw new LinkError('internal-error', 'not asked for')
    },
    devices: () => ({ devices: [...kept.values()] }),
    async offer(question) {
      asked.push(['offer', question])
      return { id: deviceId(99), link: PAIRING_LINK, expiresAt: '2026-11-01T10:10:00.000Z' }
    },
    offerStatus: () => {
      throw new LinkError('internal-error', 'not asked for')
    },
    approve(id, sub) {
      asked.push(['approve', id, sub])
      return change(id, { state: 'approved', sub, code: null })
    },
    rename(id, name) {
      asked.push(['rename', id, name])
      return change(id, { name })
    },
    revoke(id) {
      asked.push(['revoke', id])
      const { name } = change(id, {})
      kept.delete(id)
      return { id, name }
    },
    async reset() {
      kept.clear()
    },
  }
  const door = await openOwnerDoor(socket, { acts, logger: pino({ level: 'silent' }) })
  t.teardown(() => door.close())
  return { socket, asked, kept, acts, close: () => door.close() }
}
