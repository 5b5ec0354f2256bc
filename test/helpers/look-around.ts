/**
 * What can a user of the machine read? A program for test/vault/uids.test.ts: it reads every environment in /proc, everything of one
 * process, everything below a folder, and tries some sockets. It prints JSON.
 */
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

const [folder = '', pid = '', ...doors] = process.argv.slice(2)

const read: string[] = []
const texts: string[] = []

function look(path: string): void {
  try {
    // A pipe or a device would be waited for.
    if (!statSync(path).isFile()) return
    texts.push(readFileSync(path, 'latin1'))
    read.push(path)
  } catch {
    // It may not be read.
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function lookBelow(path: string): void {
  const names = namesIn(path)
  if (names.length === 0) look(path)
  for (const name of names) lookBelow(join(path, name))
}

async function opens(path: string): Promise<boolean> {
  const socket = connect(path)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

lookBelow(folder)
// Also by names that are known, because a folder that cannot be listed may still be passed through.
for (const name of ['.vault.enc', '.vault.enc.prev', 'vault-audit.jsonl'])
  look(join(folder, 'data', name))
const readFiles = [...read]
for (const id of namesIn('/proc').filter((name) => /^\d+$/.test(name)))
  for (const name of ['environ', 'cmdline']) look(`/proc/${id}/${name}`)
for (const name of ['maps', 'auxv', 'io']) look(`/proc/${pid}/${name}`)
for (const name of namesIn(`/proc/${pid}/fd`)) {
  look(`/proc/${pid}/fd/${name}`)
  texts.push(readlinkSync(`/proc/${pid}/fd/${name}`))
}
const opened: string[] = []
for (const door of doors) if (await opens(door)) opened.push(door)
process.stdout.write(JSON.stringify({ opened, readFiles, text: texts.join('\n') }))
