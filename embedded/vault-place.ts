/** Where is the vault of `npm start`? In the state folder of the workspace, with one agent and one entry. */
import { join, resolve } from 'node:path'
import type { Environment } from '../src/config/load.ts'
import { STATE_FOLDER } from './running-workspace.ts'

/** The only agent of the vault of `npm start`. It has the user of `npm start`. */
export const AGENT = 'coder'

/** The entry of the vault of `npm start`, for the service of demo-service.ts. */
export const DEMO = 'demo'

/** Its folders and files, as absolute paths. */
export interface VaultPlace {
  /** The folder of the doors. Not below the next one, because the path of a socket must be short. */
  readonly doors: string
  /** The folder of the sealed file, its key and the audit log. */
  readonly folder: string
  readonly file: string
  readonly keyFile: string
}

/** The place for a workspace with these settings. */
export function vaultPlace({
  GATEWAY_STATE_DIR: stateDir = STATE_FOLDER,
}: Environment): VaultPlace {
  const above = resolve(stateDir)
  const folder = join(above, 'vault')
  return {
    doors: join(above, 'doors'),
    folder,
    file: join(folder, '.vault.enc'),
    keyFile: join(folder, 'master-key'),
  }
}
