// Search for pages that are opened from the folder. Browsers refuse a Worker at a file: address, and without one the
// theme hides its search. Here a frame that is not shown does a worker's work. The theme would fetch such a script
// from the web with every page. It asks for the name IFrameWorker, and for an importScripts that can be waited for.
(() => {
  if (location.protocol !== "file:") return;

  class IFrameWorker extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      inside.document.open(); // else Firefox loads its empty page once more, over what comes here
      inside.document.write("<!doctype html><body></body>");
      inside.document.close();
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts = (...addresses) => addresses.reduce((before, next) => before.then(() => run(next)), Promise.resolve());
      const run = (source) => new Promise((resolve, reject) => {
        const script = inside.document.createElement("script");
        Object.assign(script, { src: new URL(source, document.baseURI), onload: resolve, onerror: reject });
        inside.document.body.append(script);
      });
      this.ready = run(address);
      this.frame = frame;
    }

    postMessage(data) {
      const { contentWindow } = this.frame;
      this.ready.then(() => contentWindow.dispatchEvent(new contentWindow.MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  }

  Object.assign(window, { IFrameWorker, Worker: IFrameWorker });
})();
