/** Where are the sockets and files of the relay and the link of `npm start`? In the state folder of the workspace. */
import { join, resolve } from 'node:path'
import type { Environment } from '../src/config/load.ts'
import { STATE_FOLDER } from './running-workspace.ts'

/** Its sockets, folders and files, as absolute paths. */
export interface RelayPlace {
  /** Where the gateway listens for the link. */
  readonly gatewaySocket: string
  /** The owner's door of the link. */
  readonly ownerSocket: string
  /** The folder of the daemon's key and the list of devices. */
  readonly folder: string
  /** The file with the port that the relay has had: devices that are paired come back there. */
  readonly portFile: string
  readonly relayLog: string
  readonly linkLog: string
}

/** The place for a workspace with these settings. */
export function relayPlace({
  GATEWAY_STATE_DIR: stateDir = STATE_FOLDER,
}: Environment): RelayPlace {
  const at = (name: string) => join(resolve(stateDir), name)
  return {
    gatewaySocket: at('link.sock'),
    ownerSocket: at('link-owner.sock'),
    folder: at('link'),
    portFile: at('relay-port'),
    relayLog: at('relay.log'),
    linkLog: at('link.log'),
  }
}
