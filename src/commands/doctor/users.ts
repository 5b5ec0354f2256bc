/** Which users and groups does this machine have? /etc/passwd and /etc/group say. A uid that is in neither has no name. */
import { readFileSync } from 'node:fs'

/** The users and groups of this machine. */
export interface Users {
  /** The name of a user, else its number. */
  userName(uid: number): string
  /** The name of a group, else its number. */
  groupName(gid: number): string
  /** The groups of a user; undefined when the machine does not know the user. */
  groupsOf(uid: number): ReadonlySet<number> | undefined
}

/** Reads the users and groups. */
export function readUsers(): Users {
  const users = rowsOf('/etc/passwd').map(([name = '', , uid, gid]) => ({
    name,
    uid: Number(uid),
    gid: Number(gid),
  }))
  const groups = rowsOf('/etc/group').map(([name = '', , gid, members = '']) => ({
    name,
    gid: Number(gid),
    members: members.split(','),
  }))
  return {
    userName: (uid) => users.find((user) => user.uid === uid)?.name ?? String(uid),
    groupName: (gid) => groups.find((group) => group.gid === gid)?.name ?? String(gid),
    groupsOf(uid) {
      const user = users.find((one) => one.uid === uid)
      if (user === undefined) return undefined
      const more = groups.filter(({ members }) => members.includes(user.name))
      return new Set([user.gid, ...more.map(({ gid }) => gid)])
    },
  }
}

function rowsOf(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line.includes(':'))
      .map((line) => line.split(':'))
  } catch {
    return []
  }
}
