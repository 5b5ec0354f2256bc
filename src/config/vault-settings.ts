/** Which settings does the vault have? Those in VAULT_SETTINGS, each declared once. */
import { oneOf, optional, withDefault, wholeNumber } from './setting.ts'
import { ConfigError, type Environment } from './load.ts'
import {
  readProgramSettings,
  unknownVariables,
  type ProgramSettings,
  type ValuesOf,
} from './program-settings.ts'
import { parseAbsolutePath, parseAgents, parseMasterKey } from './vault-values.ts'

/** How the names of the vault's settings begin. */
export const VAULT_PREFIX = 'VAULT_'

/** The declarations of the vault's settings, by their names in the code. */
export const VAULT_SETTINGS = {
  file: withDefault('/data/vault/.vault.enc', {
    env: 'VAULT_FILE',
    description:
      'The sealed file with the entries and their credentials. Its folder is made with mode 700.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  sockets: withDefault('/run/workspace/vault', {
    env: 'VAULT_SOCKETS',
    description:
      'The folder of the doors: owner/owner.sock for the owner, and a folder with agent.sock for each agent.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  agents: withDefault('', {
    env: 'VAULT_AGENTS',
    description:
      'The agents that have a door, each with the uid that it runs under. Agents under one uid are one identity.',
    accepts: 'a list of names and uids, such as coder:1001,ops:1002',
    parse: parseAgents,
  }),
  port: optional({
    env: 'VAULT_PORT',
    description:
      'The loopback port where requests with a lease are taken from tools that cannot speak to a Unix socket. None is opened unless it is set.',
    ...wholeNumber(0, 65_535),
  }),
  masterKey: optional({
    env: 'VAULT_MASTER_KEY',
    description:
      'The key of the vault. It must be given in one of three ways: here, in a file, or on a file descriptor (VAULT_MASTER_KEY_FD), which is the best one.',
    accepts: '32 random bytes in base64 or hex',
    secret: true,
    parse: parseMasterKey,
  }),
  masterKeyFd: optional({
    env: 'VAULT_MASTER_KEY_FD',
    description:
      'The number of an inherited file descriptor from which the key of the vault is read, once, at the start.',
    ...wholeNumber(3, 1023),
  }),
  stateDir: withDefault('/data/vault', {
    env: 'VAULT_STATE_DIR',
    description: 'The folder of the audit log vault-audit.jsonl. It is made with mode 700.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  extraCaFile: optional({
    env: 'VAULT_EXTRA_CA_FILE',
    description:
      'A file with certificates (PEM) that are trusted besides those that Node has, for services with certificates of their own.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  logLevel: withDefault('info', {
    env: 'VAULT_LOG_LEVEL',
    description: 'The least severe log line that is written.',
    ...oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
  }),
} as const satisfies ProgramSettings
