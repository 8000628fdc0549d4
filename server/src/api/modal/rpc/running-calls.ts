/** Calls that are being answered, so that they can be ended. */
import { Code, ConnectError } from '@connectrpc/connect';
import type { AnyResponse } from '../../../transport/port.ts';

export class RunningCalls {
  readonly #running = new Map<AnyResponse, AbortController>();

  /** Begins one, which ends when its caller is gone. `over` is to be called once it is answered. */
  begin(response: AnyResponse): { readonly controller: AbortController; readonly over: () => void } {
    const controller = new AbortController();
    this.#running.set(response, controller);
    const onClose = () => controller.abort(new ConnectError('The caller is gone.', Code.Canceled));
    response.once('close', onClose);
    const over = () => {
      response.off('close', onClose);
      this.#running.delete(response);
    };
    return { controller, over };
  }

  /** Ends all with this error. */
  abort(reason: ConnectError): void {
    for (const controller of this.#running.values()) controller.abort(reason);
  }

  /** Ends the one that is answered there with this error; false where none is. */
  end(response: AnyResponse, reason: ConnectError): boolean {
    const controller = this.#running.get(response);
    controller?.abort(reason);
    return controller !== undefined;
  }
}
