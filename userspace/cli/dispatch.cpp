// SPDX-License-Identifier: Apache-2.0
#include "cli/dispatch.hpp"

#include <algorithm>
#include <functional>
#include <iterator>

#include "cli/client.hpp"
#include "cli/object.hpp"
#include "cli/render.hpp"

namespace twinstep::cli {
namespace {

using nlohmann::ordered_json;
using Words = std::vector<std::string>;

const std::vector<Object>& objects() {
  static const std::vector<Object> table = {vm_object(), checkpoint_object(), flow_object(), nic_object()};
  return table;
}

Output help(std::string text) {
  return {nullptr, std::move(text), true};
}

/// [name NAME] and the command's value, after the command.
Result<ordered_json> arguments(const Words& words, std::size_t from, const Command& command) {
  ordered_json found = ordered_json::object();
  Words known = {"name"};
  known.insert(known.end(), command.values.begin(), command.values.end());
  for (std::size_t i = from; i < words.size(); i += 2) {
    const auto keyword = resolve(words[i], known, "argument");
    if (keyword && *keyword != "name") {
      if (found.contains(command.name)) return fail("'" + *keyword + "' is one value too many");
      found[command.name] = *keyword;
      --i;  // it stands alone
      continue;
    }
    if (!keyword) return tl::unexpected(keyword.error());
    if (i + 1 == words.size()) return fail("'" + *keyword + "' needs a value");
    if (found.contains(*keyword)) return fail("'" + *keyword + "' is given twice");
    found[*keyword] = words[i + 1];
  }
  return found;
}

Result<Output> run_object(const Options& options, const Object& object, const Words& words) {
  Words names = {"help"};
  for (const auto& command : object.commands) names.push_back(command.name);
  const auto name = words.size() < 2 ? Result<std::string>("show") : resolve(words[1], names, object.name + " command");
  if (!name) return tl::unexpected(name.error());
  if (*name == "help") return help("Usage:\n" + object.usage);
  const auto command = std::ranges::find(object.commands, *name, &Command::name);
  const auto given = arguments(words, 2, *command);
  if (!given) return tl::unexpected(given.error());
  if (command->needs_name && !given->contains("name"))
    return fail("which VM? say: twinstep " + object.name + " " + *name + " name NAME");
  if (!command->values.empty() && !given->contains(command->name))
    return fail("which " + *name + "? say: twinstep " + object.name + " help");

  ordered_json request = {{"object", object.name}, {"command", *name == "list" ? "show" : *name}};
  request.update(*given);
  const auto model = ask(options, request);
  if (!model) return tl::unexpected(model.error());
  if (command->changes) return Output{};
  return Output{*model, render_plain(object, *model, options.numeric)};
}

Output run_version(const Options& options) {
  Output output;
  output.json = {{"version", TWINSTEP_VERSION}};
  output.text = "twinstep v" TWINSTEP_VERSION "\n";
  // A version is also good to know where no daemon runs.
  const auto daemon = ask(options, {{"object", "version"}, {"command", "show"}});
  if (daemon && daemon->is_object() && daemon->contains("version") && (*daemon)["version"].is_string()) {
    output.json["daemon"] = (*daemon)["version"];
    output.text += "twinstepd v" + (*daemon)["version"].get<std::string>() + "\n";
  }
  return output;
}

}  // namespace

std::string usage() {
  std::string text =
      "Usage: twinstep [OPTIONS] OBJECT { COMMAND | help }\n"
      "       twinstep batch file FILE\n"
      "       twinstep version\n"
      "\n"
      "OBJECT  := {";
  for (const auto& object : objects()) text += (object.name == objects().front().name ? " " : " | ") + object.name;
  return text +
         " }\n"
         "OPTIONS := { -h|--help | -V|--version | -j|--json | -p|--pretty | -d|--debug | -n|--numeric | "
         "--socket PATH }\n";
}

Result<std::string> resolve(const std::string& word, const Words& candidates, const std::string& what) {
  if (std::ranges::find(candidates, word) != candidates.end()) return word;
  Words matches;
  std::ranges::copy_if(candidates, std::back_inserter(matches),
                       [&](const auto& name) { return name.starts_with(word); });
  if (!word.empty() && matches.size() == 1) return matches.front();
  const Words& choices = matches.empty() || word.empty() ? candidates : matches;
  std::string listed;
  for (const auto& choice : choices) listed += (listed.empty() ? "" : ", ") + choice;
  return fail((matches.empty() || word.empty() ? "unknown " : "ambiguous ") + what + " '" + word + "': use " +
              (choices.size() > 1 ? "one of " : "") + listed);
}

Result<Output> run(const Options& options, const Words& words) {
  if (words.empty()) return help(usage());
  Words names = {"batch", "help", "version"};
  for (const auto& object : objects()) names.push_back(object.name);
  const auto name = resolve(words.front(), names, "object");
  if (!name) return tl::unexpected(name.error());
  if (*name == "help") return help(usage());
  if (*name == "version") return run_version(options);
  if (*name == "batch") {
    if (words.size() == 3 && resolve(words[1], {"file"}, "argument")) return run_batch(options, words[2]);
    return fail("batch wants a file: twinstep batch file FILE");
  }
  return run_object(options, *std::ranges::find(objects(), *name, &Object::name), words);
}

}  // namespace twinstep::cli
