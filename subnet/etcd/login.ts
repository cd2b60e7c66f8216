import { CallFailed } from './errors.ts'

/**
 * The token of one connection. It lives as long as etcd wants, minutes for a JWT; nobody tells when it ends but the first call that is
 * refused, and that call alone is repeated with a new one. Watches go on: etcd asks for the token when a watch is created.
 */
export class Login {
  readonly #authenticate: () => Promise<string>
  #token: Promise<string> | undefined

  constructor(authenticate: () => Promise<string>) {
    this.#authenticate = authenticate
  }

  async use<T>(work: (token: string) => Promise<T>): Promise<T> {
    const used = this.token()
    const token = await used
    try {
      return await work(token)
    } catch (cause) {
      if (!(cause instanceof CallFailed) || cause.trouble !== 'login') throw cause
      // Of many calls that are refused together the first one logs in for all.
      if (this.#token === used) this.forget()
      return await work(await this.token())
    }
  }

  token(): Promise<string> {
    if (this.#token === undefined) {
      const asked = this.#authenticate()
      this.#token = asked
      asked.catch(() => {
        if (this.#token === asked) this.forget()
      })
    }
    return this.#token
  }

  forget(): void {
    this.#token = undefined
  }
}
