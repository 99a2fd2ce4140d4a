// The search of a page that was opened as a file: browsers start no worker there, so its script runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      document.body.appendChild(this.frame);
      const inner = this.frame.contentWindow;
      const script = inner.document.createElement("script");
      this.ready = new Promise((resolve, reject) => {
        script.onload = resolve;
        script.onerror = reject;
      });
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inner.importScripts = (...urls) =>
        urls.reduce(
          (before, address) =>
            before.then(
              () =>
                new Promise((resolve, reject) => {
                  const imported = inner.document.createElement("script");
                  imported.onload = resolve;
                  imported.onerror = reject;
                  imported.src = address;
                  inner.document.body.appendChild(imported);
                }),
            ),
          Promise.resolve(),
        );
      script.src = url;
      inner.document.body.appendChild(script);
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
