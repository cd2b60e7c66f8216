import { constants } from 'node:fs'
import { chmod, lstat, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { PermissionError } from '../../lib/errors.ts'
import { isSystemError } from '../../lib/system-error.ts'
import { makeFolders } from './folders.ts'

const MOST_BYTES = 64 * 1024 * 1024

/**
 * A directory that only this user may read, and small files in it. What somebody else could have put there is refused
 * with the command that mends it, never used: these files decide who this host is.
 */
export class PrivateFiles {
  readonly path: string
  readonly #uid: number
  readonly #mends: boolean

  private constructor(path: string, uid: number, mends: boolean) {
    this.path = path
    this.#uid = uid
    this.#mends = mends
  }

  /**
   * Makes the directory (0700, parents 0755) where it is missing. A disk that refuses it (full, read-only) is heard of by
   * the first write, which tries again.
   * @param uid of this process
   * @throws PermissionError for a symlink, a foreign owner, or a directory that others may write
   */
  static async open(path: string, uid: number): Promise<PrivateFiles> {
    const files = new PrivateFiles(path, uid, true)
    try {
      await files.#make()
    } catch (cause) {
      if (!isSystemError(cause)) throw cause
    }
    return files
  }

  /**
   * To look only: nothing is made, and no mode mended. Undefined when there is no such directory.
   * @throws PermissionError as `open`
   */
  static async peek(path: string, uid: number): Promise<PrivateFiles | undefined> {
    try {
      await checkedMode(path, uid)
      return new PrivateFiles(path, uid, false)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw asPermissionError(path, cause)
    }
  }

  /** Undefined when there is no such file. @throws PermissionError for a file that is not ours alone */
  async read(name: string): Promise<string | undefined> {
    const path = join(this.path, name)
    try {
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      try {
        const found = await file.stat()
        if (!found.isFile()) throw new PermissionError(`${path} is no plain file; remove it`)
        if (found.uid !== this.#uid)
          throw new PermissionError(`${path} belongs to user ${found.uid}; run: chown ${this.#uid} ${path}`)
        if ((found.mode & 0o022) !== 0) throw new PermissionError(`others may write ${path}; run: chmod 0600 ${path}`)
        // Restored from a backup, say; nobody else gets through the directory anyway.
        if (this.#mends && (found.mode & 0o077) !== 0) await file.chmod(0o600).catch((cause) => ignore('EROFS', cause))
        if (found.size > MOST_BYTES) throw new PermissionError(`${path} has ${found.size} bytes; remove it`)
        return await file.readFile('utf8')
      } finally {
        await file.close()
      }
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
      if (code === 'ELOOP') throw new PermissionError(`${path} is a symbolic link; remove it`, { cause })
      throw asPermissionError(path, cause)
    }
  }

  has(name: string): Promise<boolean> {
    return lstat(join(this.path, name)).then(
      () => true,
      (cause) => cause.code !== 'ENOENT',
    )
  }

  /**
   * Whole or not at all, also when the power fails. One writer per name at a time.
   * @throws PermissionError; the system's error for everything else
   */
  async write(name: string, text: string): Promise<void> {
    const path = join(this.path, name)
    const temporary = join(this.path, `.${name}.new`)
    try {
      // Somebody may have removed it since it was opened.
      await this.#make()
      // What a crash has left there is nobody's.
      await rm(temporary, { force: true })
      const file = await open(
        temporary,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      )
      try {
        await file.chmod(0o600)
        await file.writeFile(text)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(temporary, path)
      await this.#syncDirectory()
    } catch (cause) {
      await rm(temporary, { force: true }).catch(() => {})
      throw asPermissionError(path, cause)
    }
  }

  async remove(name: string): Promise<void> {
    await rm(join(this.path, name), { force: true })
    await this.#syncDirectory()
  }

  async #make(): Promise<void> {
    try {
      makeFolders(this.path, 0o700)
      const mode = await checkedMode(this.path, this.#uid)
      // systemd makes state directories 0755.
      if ((mode & 0o077) !== 0) await chmod(this.path, 0o700)
    } catch (cause) {
      throw asPermissionError(this.path, cause)
    }
  }

  async #syncDirectory(): Promise<void> {
    const directory = await open(this.path, constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  }
}

async function checkedMode(path: string, uid: number): Promise<number> {
  const found = await lstat(path)
  if (!found.isDirectory()) throw new PermissionError(`${path} is not a directory; remove it`)
  if (found.uid !== uid) throw new PermissionError(`${path} belongs to user ${found.uid}; run: chown ${uid} ${path}`)
  if ((found.mode & 0o022) !== 0) throw new PermissionError(`others may write in ${path}; run: chmod 0700 ${path}`)
  return found.mode
}

/** Lack of rights as a PermissionError with the remedy; anything else as it is. */
export function asPermissionError(path: string, cause: unknown): unknown {
  const { code } = cause as NodeJS.ErrnoException
  if (code !== 'EACCES' && code !== 'EPERM') return cause
  return new PermissionError(`${path} cannot be used (${code}); name a directory of this user by --state-dir`, {
    cause,
  })
}

function ignore(code: string, cause: NodeJS.ErrnoException): void {
  if (cause.code !== code) throw cause
}
