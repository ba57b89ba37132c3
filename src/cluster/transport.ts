/** One HTTP exchange with the API server, as the reflector needs it. `Connection` is the real one. */
export interface ApiRequest {
  /** Path with query, as sent: `/api/v1/pods?limit=500`. */
  readonly path: string;
  /** Default GET. */
  readonly method?: string;
  /** Sent as application/json. */
  readonly body?: string;
  /** Besides those of every request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends the exchange wherever it is; `open` or the body then rejects. */
  readonly signal: AbortSignal;
}

export interface ApiResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Bytes as they arrive. Throws if the connection breaks before the end. Must be read or given up by the signal. */
  readonly body: AsyncIterable<Buffer>;
}

export interface Transport {
  /** For messages: `https://192.0.2.1:6443`. */
  readonly server: string;
  /** Resolves when the headers are there, whatever the status. Rejects with an `Error` in an operator's words. */
  open(request: ApiRequest): Promise<ApiResponse>;
  /** The server refused our credentials: read them anew before the next request. */
  refreshCredentials(): void;
}
