"""Faults in whose call it is, and in what the extension for 1C makes of it."""

TOLD = "tests/calllog/test_workplace.py::test_a_workplace_is_told_of_its_calls_as_soon_as_the_feed_makes_it_known"
EXTENSION = "tests/bsl/test_extension.py"
FOLDER = "deploy/1c/extension"


def _fault(name: str, file: str, old: str, new: str, *tests: str) -> dict[str, object]:
    return {"name": f"workplace-{name}", "file": file, "old": old, "new": new, "tests": list(tests)}


MUTATIONS = [
    _fault(
        "an-ended-leg-rings-on",
        "calllog/workplace.py",
        'open_legs = [leg for leg in mine if leg["ended_at"] is None]',
        "open_legs = mine",
        TOLD,
    ),
    _fault(
        "everybody-is-told-of-outgoing-calls",
        "calllog/workplace.py",
        'if call["direction"] not in ("in", "") or asker',
        "if asker",
        "tests/calllog/test_workplace.py::test_an_outgoing_call_that_names_nobody_is_nobodys_notice",
    ),
    _fault(
        "a-card-stays-open-when-another-answers",
        "calllog/workplace.py",
        "        return Standing(UNKNOWN, False)  # one of those whom it rang\n    return Standing(WAS_RUNG, True)",
        "        return Standing(UNKNOWN, False)  # one of those whom it rang\n    return Standing(RINGING, False)",
        TOLD,
        f"{EXTENSION}::test_a_card_opens_where_it_rings_and_closes_when_another_answers",
    ),
    _fault(
        "one-exception-ends-polling",
        f"{FOLDER}/CommonForms/АТС_РабочееМесто/Ext/Form/Module.bsl",
        '	КонецПопытки;\n	ПодключитьОбработчикОжидания("Подключаемый_ПроверитьЗвонки", Интервал, Истина);',
        '		Возврат;\n	КонецПопытки;\n	ПодключитьОбработчикОжидания("Подключаемый_ПроверитьЗвонки", Интервал, Истина);',
        f"{EXTENSION}::test_a_fault_of_the_server_or_of_the_client_ends_no_polling",
    ),
    _fault(
        "a-talk-closes-no-task",
        f"{FOLDER}/CommonModules/АТС_Чтение/Ext/Module.bsl",
        "		Если Выборка.Отвечен Тогда\n",
        "		Если Ложь Тогда\n",
        f"{EXTENSION}::test_a_day_of_ten_clients_leaves_just_these_tasks",
    ),
    _fault(
        "a-hidden-number-is-called-back",
        f"{FOLDER}/CommonModules/АТС_Чтение/Ext/Module.bsl",
        "	Возврат СтрДлина(Номер) >= 3 И ",
        "	Возврат СтрДлина(Номер) >= 3 ИЛИ ",
        f"{EXTENSION}::test_a_day_of_ten_clients_leaves_just_these_tasks",
    ),
    _fault(
        "what-a-person-has-done-is-opened-again",
        f"{FOLDER}/CommonModules/АТС_Чтение/Ext/Module.bsl",
        '	|	И НЕ Перезвонить.ЗакрытаЗвонком"',
        '	|	И Перезвонить.ЗакрытаЗвонком"',
        f"{EXTENSION}::test_what_a_person_has_done_stays_done_until_the_next_missed_call",
    ),
    _fault(
        "a-failed-call-leaves-its-transaction",
        f"{FOLDER}/CommonModules/АТС_Чтение/Ext/Module.bsl",
        "		ОтменитьТранзакцию();\n",
        "",
        f"{EXTENSION}::test_a_call_that_cannot_be_written_waits_and_keeps_no_other_out",
    ),
    _fault(
        "a-bad-contact-stops-the-upload",
        f"{FOLDER}/CommonModules/АТС_Выгрузка/Ext/Module.bsl",
        "		Возврат Ответ.Данные.written;\n	КонецЕсли;\n\n	Беды",
        "		ВызватьИсключение Ответ.Сообщение;\n	КонецЕсли;\n\n	Беды",
        f"{EXTENSION}::test_an_upload_writes_what_is_good_and_names_what_is_not",
    ),
]
