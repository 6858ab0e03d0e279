// A view that breaks says so, and takes nothing else with it.
import { Component, type ComponentChildren } from "preact";
import { brief } from "../format";

export class Fence extends Component<{ children: ComponentChildren }, { broken: unknown }> {
  override state = { broken: null as unknown };

  override componentDidCatch(error: unknown): void {
    reportError(error);
    this.setState({ broken: error });
  }

  override render() {
    const { broken } = this.state;
    if (broken === null) return this.props.children;
    return (
      <div class="notice bad" role="alert">
        <b>This view cannot be shown.</b> {brief(String(broken))}{" "}
        <button type="button" class="plain" onClick={() => this.setState({ broken: null })}>Try again</button>
      </div>
    );
  }
}
